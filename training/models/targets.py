"""What a masked auto-encoder is asked to predict of each cube, and the way back from a prediction to pixels.

Cubes are (..., frames * patch * patch * 3), colours last.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_EPS = 1e-6


def _per_patch(cubes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over pixels and colours together, eps inside the root (MAE-ST)."""
    mean = cubes.mean(-1, keepdim=True)
    return mean, (cubes.var(-1, keepdim=True) + _EPS).sqrt()


def _per_channel(cubes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each colour apart, eps outside the root (VideoMAE)."""
    colours = cubes.unflatten(-1, (-1, 3))
    mean, deviation = colours.mean(-2, keepdim=True), colours.var(-2, keepdim=True).sqrt() + _EPS
    return tuple(value.expand_as(colours).flatten(-2) for value in (mean, deviation))  # type: ignore[return-value]


def _pixels(cubes: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(cubes[..., :1]), torch.ones_like(cubes[..., :1])


_STATISTICS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "pixels": _pixels,
    "per_patch": _per_patch,
    "per_channel": _per_channel,
}


def standardise(video: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, 3, T, H, W) in [0, 1] -> as the model takes it."""
    shape = (1, 3, 1, 1, 1)
    return (video - video.new_tensor(mean).view(shape)) / video.new_tensor(std).view(shape)


def unstandardise(video: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, 3, T, H, W) standardised -> in [0, 1]."""
    shape = (1, 3, 1, 1, 1)
    return video * video.new_tensor(std).view(shape) + video.new_tensor(mean).view(shape)


def to_target(cubes: Tensor, kind: str) -> Tensor:
    """Pixels of the cubes -> what the model should predict."""
    mean, deviation = _STATISTICS[kind](cubes)
    return (cubes - mean) / deviation


def to_pixels(prediction: Tensor, cubes: Tensor, kind: str) -> Tensor:
    """A prediction -> pixels, with mean and deviation of the true `cubes`, which a normalised prediction leaves open."""
    mean, deviation = _STATISTICS[kind](cubes)
    return prediction * deviation + mean
