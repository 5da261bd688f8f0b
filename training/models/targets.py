"""What a masked auto-encoder is asked to predict of each cube, and the way back from a prediction to pixels.

Cubes are (..., frames * patch * patch * 3), colours last.
"""

import torch
from torch import Tensor

_EPS = 1e-6


def to_target(cubes: Tensor, kind: str) -> Tensor:
    """Pixels of the cubes -> what the model should predict."""
    if kind == "pixels":
        return cubes
    values, mean, deviation = _statistics(cubes, kind)
    return ((values - mean) / deviation).flatten(-2)


def to_pixels(prediction: Tensor, cubes: Tensor, kind: str) -> Tensor:
    """A prediction -> pixels, with mean and deviation of the true `cubes`, which a normalised prediction leaves open."""
    if kind == "pixels":
        return prediction
    values, mean, deviation = _statistics(cubes, kind)
    return (prediction.view_as(values) * deviation + mean).flatten(-2)


def _statistics(cubes: Tensor, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """The cubes as (..., values, groups), with mean and deviation of each group.

    `per_patch`: pixels and colours are one group, eps inside the root (MAE-ST). `per_channel`: each colour is one, eps
    outside the root (VideoMAE).
    """
    apart = kind == "per_channel"
    values = cubes.unflatten(-1, (-1, 3 if apart else 1))
    variance, mean = torch.var_mean(values, -2, keepdim=True)
    return values, mean, variance.sqrt() + _EPS if apart else (variance + _EPS).sqrt()
