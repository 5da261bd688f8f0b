"""Batches of masked clips, and the reconstruction loss on them."""

from typing import NamedTuple

import torch
from torch import Tensor

from training.data.order import VisitOrder
from training.data.windows import ClipWindows
from training.engine.device import to_device
from training.engine.loop import Draw, Task
from training.models import MAE, ModelConfig
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.tubelets import TokenSplit


class Batch(NamedTuple):
    """Windows of clips, with a mask for each."""

    clips: Tensor  # (B,) positions in the data
    frames: Tensor  # (B, T, S, S, 3) uint8, on the data's device, as are the splits
    split: TokenSplit  # of the masked and visible tokens
    decoder_split: TokenSplit | None  # "masked" tokens of it are not reconstructed

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
    """

    def __init__(
        self, data: ClipWindows, config: ModelConfig, masking: Masking, size: int, *, seed: int, buffer: int
    ) -> None:
        self.data, self._grid, self._masking, self._size = data, config.grid, masking, size
        self._order = VisitOrder([clip.shard for clip in data.rows], seed, buffer)

    def __call__(self, draw: Draw) -> Batch:
        """The share of a step's batch."""
        first = draw.step * self._size
        clips = self._order.visits(first, self._size)
        starts = self.data.random_starts(clips, draw.generator)
        mask = self._masking(self._size, self._grid, draw.generator)
        decoder_mask = self._masking.decoder_mask(self._size, self._grid, draw.generator)
        self.data.visit(self._order, draw.share(torch.arange(first, first + self._size)).tolist())
        clips, starts = self.data.readable(draw.share(clips), draw.share(starts))
        frames = self.data.windows(clips, starts)
        decoder_split = None if decoder_mask is None else self._split(draw.share(decoder_mask))
        return Batch(clips, frames, self._split(draw.share(mask)), decoder_split)

    def _split(self, mask: Tensor) -> TokenSplit:
        """The split by a mask on the host, on the data's device."""
        return to_device(TokenSplit.of(mask, len(mask), self._grid), self.data.device)

    def names(self, batch: Batch) -> list[str]:
        """The clip ids of a batch."""
        return [self.data.rows[position].clip_id for position in batch.clips.tolist()]


def reconstruction_task(model: MAE, sampler: BatchSampler) -> Task[Batch]:
    """Training an autoencoder to reconstruct masked clips."""

    def compute(batch: Batch) -> dict[str, Tensor]:
        return {"loss": model(preprocess(batch.frames, model.config), batch.split, batch.decoder_split).loss}

    return Task(sampler, compute, sampler.names)
