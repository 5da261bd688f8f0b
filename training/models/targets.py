"""Reconstruction targets of a masked autoencoder: tubelet pixels, normalised or not, and the way back to pixels.

Tubelets are (..., frames * patch * patch * 3), colours last. Kinds of targets:

    pixels       as they are
    per_patch    mean 0, variance 1 over all values of a tubelet; eps inside the root (MAE-ST)
    per_channel  the same for each colour; eps outside the root (VideoMAE)
"""

from typing import Literal

import torch
from torch import Tensor

TargetKind = Literal["pixels", "per_channel", "per_patch"]
_EPS = 1e-6


def to_target(tubelets: Tensor, kind: TargetKind) -> Tensor:
    """The target of each tubelet from its pixels."""
    if kind == "pixels":
        return tubelets
    values, mean, deviation = _statistics(tubelets, kind)
    return ((values - mean) / deviation).flatten(-2)


def to_pixels(prediction: Tensor, tubelets: Tensor, kind: TargetKind) -> Tensor:
    """Pixels from predicted targets, with the mean and deviation of the true `tubelets`, which a target does not carry."""
    if kind == "pixels":
        return prediction
    values, mean, deviation = _statistics(tubelets, kind)
    return (prediction.view_as(values) * deviation + mean).flatten(-2)


def _statistics(tubelets: Tensor, kind: TargetKind) -> tuple[Tensor, Tensor, Tensor]:
    """The tubelets as (..., values, groups), and mean and deviation of each group, (..., 1, groups)."""
    groups = 3 if kind == "per_channel" else 1
    values = torch.unflatten(tubelets, -1, (-1, groups))
    variance, mean = torch.var_mean(values, -2, keepdim=True)
    return values, mean, variance.sqrt() + _EPS if kind == "per_channel" else (variance + _EPS).sqrt()
