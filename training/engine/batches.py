"""Random batches of masked clips, and the reconstruction loss on them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from training.data.in_memory import InMemoryClips
from training.models import MAE, ModelConfig
from training.models.masking import Masking
from training.models.preprocess import preprocess


class Batch(NamedTuple):
    """Windows as model input, with a mask for each."""

    clips: Tensor  # (B,) positions in the data
    video: Tensor  # (B, 3, T, S, S) float, on the data's device
    mask: Tensor  # (B, N) bool, True = masked, on the host
    decoder_mask: Tensor | None  # (B, N) bool, True = not reconstructed, on the host


def random_batch(data: InMemoryClips, config: ModelConfig, masking: Masking, size: int, generator: Generator) -> Batch:
    """`size` random clips, a random window and a random mask of each; clips may repeat."""
    clips = torch.randint(len(data), (size,), generator=generator)
    mask = masking(size, config.grid, generator)
    decoder_mask = masking.decoder_mask(size, config.grid, generator)
    video = preprocess(data.random_windows(clips, generator), config)
    return Batch(clips, video, mask, decoder_mask)


def reconstruction_loss(
    model: MAE, data: InMemoryClips, masking: Masking, size: int
) -> Callable[[Generator], dict[str, Tensor]]:
    """The function for `train` that computes the autoencoder's loss on a random batch of `size` clips."""

    def compute(generator: Generator) -> dict[str, Tensor]:
        batch = random_batch(data, model.config, masking, size, generator)
        return {"loss": model(batch.video, batch.mask, batch.decoder_mask).loss}

    return compute
