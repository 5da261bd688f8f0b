"""Colour and sharpness: frames blended with their grey or smoothed version, as Pillow's ImageEnhance does."""

import torch
from torch import Tensor

from training.data.augment.point import blend, luma


def color(planes: Tensor, factor: Tensor) -> Tensor:
    """Blend with grey: factor 0 is grey, 1 unchanged.

    Args:
        planes: (B, T, 3, H, W) uint8.
        factor: (B,) float32.

    Returns:
        (B, T, 3, H, W) uint8.
    """
    return blend(luma(planes), planes.int(), factor.view(-1, 1, 1, 1, 1))


def sharpness(planes: Tensor, factor: Tensor) -> Tensor:
    """Blend with a 3x3 smoothing (centre 5, neighbours 1): factor 0 is smooth, 1 unchanged; borders are unchanged.

    Args:
        planes: (B, T, 3, H, W) uint8.
        factor: (B,) float32.

    Returns:
        (B, T, 3, H, W) uint8.
    """
    image = planes.int()
    return blend(_smooth(image), image, factor.view(-1, 1, 1, 1, 1))


def _smooth(image: Tensor) -> Tensor:
    lines = image[..., :-2, :] + image[..., 1:-1, :] + image[..., 2:, :]
    total = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:] + 4 * image[..., 1:-1, 1:-1]
    inner = (2 * total + 13) // 26  # total / 13, rounded
    middle = torch.cat([image[..., 1:-1, :1], inner, image[..., 1:-1, -1:]], -1)
    return torch.cat([image[..., :1, :], middle, image[..., -1:, :]], -2)
