"""Batches of masked and augmented clips, and the reconstruction loss on them."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from common.errors import ParamError
from training.data.order import VisitOrder
from training.data.windows import ClipWindows
from training.engine.augmentation import Augmentation, Draws, directional_clips
from training.engine.device import to_device
from training.engine.task import Draw, Task
from training.models import MAE, ModelConfig
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.tubelets import TokenSplit

Values = TypeVar("Values")


class Batch(NamedTuple):
    """Windows of clips, with a mask and the parameters of the augmentation for each; all but `clips` on the data's device."""

    clips: Tensor  # (B,) positions in the data
    frames: Tensor  # (B, T, S, S, 3) uint8
    split: TokenSplit  # of the masked and visible tokens
    decoder_split: TokenSplit | None  # "masked" tokens of it are not reconstructed
    labels: Tensor | None = None  # (B,) class numbers or (B, C) of 0 and 1
    draws: Draws = Draws()

    @property
    def mask(self) -> Tensor:
        """(B, N) bool, True = masked."""
        return self.split.mask


class BatchSampler:
    """Draws training batches: clips in `VisitOrder`, a random window and a random mask of each.

    Args:
        data: the clips.
        config: of the model that is trained.
        masking: of the windows.
        size: clips of a batch.
        seed: of the order of the clips.
        buffer: of the order's shuffle buffer, in clips.
        augmentation: of the clips; None: none.
        labels: of the clips, (N, ...), on the host.
    """

    def __init__(
        self,
        data: ClipWindows,
        config: ModelConfig,
        masking: Masking,
        size: int,
        *,
        seed: int,
        buffer: int,
        augmentation: Augmentation | None = None,
        labels: Tensor | None = None,
    ) -> None:
        self.data, self.augmentation, self._config, self._masking, self._size = (
            data,
            augmentation,
            config,
            masking,
            size,
        )
        self._grid, self._labels = config.grid, labels
        self._directional = directional_clips(data.rows)
        self._order = VisitOrder([clip.shard for clip in data.rows], seed, buffer)

    def __call__(self, draw: Draw) -> Batch:
        """The share of a step's batch.

        Raises:
            ParamError: clips are mixed in pairs, and the share is odd.
        """
        first = draw.step * self._size
        clips = self._order.visits(first, self._size)
        starts = self.data.random_starts(clips, draw.generator)
        mask = self._masking(self._size, self._grid, draw.generator)
        decoder_mask = self._masking.decoder_mask(self._size, self._grid, draw.generator)
        self.data.visit(self._order, draw.share(torch.arange(first, first + self._size)).tolist())
        clips, starts = self.data.readable(self._share(draw, clips), self._share(draw, starts))
        frames = self.data.windows(clips, starts)
        return Batch(
            clips,
            frames,
            self._split(self._share(draw, mask)),
            None if decoder_mask is None else self._split(self._share(draw, decoder_mask)),
            None if self._labels is None else to_device(self._labels[clips], self.data.device),
            to_device(self._draws(draw, clips, frames.shape), self.data.device),
        )

    def _draws(self, draw: Draw, clips: Tensor, shape: torch.Size) -> Draws:
        """Parameters of the augmentation of the share's clips, whose frames have `shape`."""
        if self.augmentation is None:
            return Draws()
        whole = self.augmentation.draw(torch.Size((self._size, *shape[1:])), self._config, draw.generator)
        draws: Draws = self._share(draw, whole)
        if draws.clips is None:
            return draws
        flip = draws.clips.flip & ~self._directional[clips]
        return draws._replace(clips=draws.clips._replace(flip=flip))

    def _share(self, draw: Draw, values: Values) -> Values:
        """The share of the tensors in `values`; for mixing, clips that are neighbours in the whole batch are partners."""

        def share(tensor: Tensor) -> Tensor:
            part = draw.share(tensor)
            if self.augmentation is None or not self.augmentation.mixes:
                return part
            if len(part) % 2:
                raise ParamError(
                    f"params.yaml: a batch of {self._size} in {draw.parts} parts has {len(part)} clips in one: must be an even "
                    "number for mixup and cutmix"
                )
            return torch.cat([part[::2], part[1::2].flip(0)])  # partners are equally far from both ends

        shared: Values = tree_map_only(Tensor, share, values)
        return shared

    def _split(self, mask: Tensor) -> TokenSplit:
        """The split by a mask on the host, on the data's device."""
        return to_device(TokenSplit.of(mask, len(mask), self._grid), self.data.device)

    def video(self, batch: Batch) -> Tensor:
        """Model input from the frames of a batch, (B, 3, T, S, S), augmented; a pure function without waits for the device."""
        if self.augmentation is None:
            return preprocess(batch.frames, self._config)
        return self.augmentation.video(batch.frames, batch.draws, self._config)

    def names(self, batch: Batch) -> list[str]:
        """The clip ids of a batch."""
        return [self.data.rows[position].clip_id for position in batch.clips.tolist()]


def reconstruction_task(model: MAE, sampler: BatchSampler) -> Task[Batch]:
    """Training an autoencoder to reconstruct masked clips."""

    def compute(batch: Batch) -> dict[str, Tensor]:
        return {"loss": model(sampler.video(batch), batch.split, batch.decoder_split).loss}

    return Task(sampler, compute, sampler.names)
