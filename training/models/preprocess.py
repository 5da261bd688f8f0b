"""Clips to model input: uint8 frames become floats in [0, 1], resized to the model's size and standardised per colour."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from training.models.config import ModelConfig


def preprocess(frames: Tensor, config: ModelConfig) -> Tensor:
    """Model input from decoded frames, on their device.

    Frames of another size are resized to `config.image_size`, by area averaging when both sides shrink, else bilinearly
    with antialiasing.

    Args:
        frames: (B, T, H, W, 3) uint8, RGB.
        config: of the model; `image_size`, `mean` and `std` are used.

    Returns:
        (B, 3, T, S, S) float32, S = `config.image_size`, standardised by `config.mean` and `config.std`.

    Raises:
        ValueError: `frames` has another shape or dtype.
    """
    if frames.dim() != 5 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
        raise ValueError(f"frames are {tuple(frames.shape)} {frames.dtype}: must be (B, T, H, W, 3) torch.uint8")
    video = _resize(frames.permute(0, 4, 1, 2, 3).float().div_(255), config.image_size)
    # In place, which halves the time on a CPU.
    return video.sub_(_per_colour(config.mean, video)).div_(_per_colour(config.std, video))


def standardise(video: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(video - mean) / std per colour; video (B, 3, T, H, W) in [0, 1], mean and std of 3 values."""
    return (video - _per_colour(mean, video)) / _per_colour(std, video)


def unstandardise(video: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The inverse of `standardise`: video (B, 3, T, H, W) back to [0, 1]."""
    return video * _per_colour(std, video) + _per_colour(mean, video)


def _resize(video: Tensor, size: int) -> Tensor:
    """(B, 3, T, H, W) -> (B, 3, T, size, size)"""
    height, width = video.shape[3:]
    if (height, width) == (size, size):
        return video
    images = video.transpose(1, 2).flatten(0, 1)  # (B T, 3, H, W)
    if size <= min(height, width):
        images = F.interpolate(images, (size, size), mode="area")
    else:
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return images.reshape(len(video), -1, 3, size, size).transpose(1, 2)


def _per_colour(values: Sequence[float], like: Tensor) -> Tensor:
    """(1, 3, 1, 1, 1) with the dtype and device of `like`."""
    # Filled on the device: a copy of host values would make the GPU wait.
    return torch.cat([like.new_full((1, 1, 1, 1, 1), value) for value in values], 1)
