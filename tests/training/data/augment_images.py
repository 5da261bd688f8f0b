"""Clips for tests of augmentation, and random numbers that both timm's functions and the tensor code can use."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image


def noise_clips(clips: int = 3, frames: int = 2, height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    """Clips of random levels, (B, T, H, W, 3) uint8."""
    shape = (clips, frames, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def scene_clips(clips: int = 3, frames: int = 2, height: int = 64, width: int = 64) -> Tensor:
    """Clips of smooth, noisy waves that move, of less than the full range of levels."""
    rng = np.random.default_rng(0)
    clip, frame, y, x, colour = np.ogrid[:clips, :frames, :height, :width, :3]
    waves = np.sin((x + 3 * frame) / 7 + colour + clip) * np.cos(y / 9 - colour)
    levels = 120 + 70 * waves + 8 * rng.standard_normal((clips, frames, height, width, 3))
    return torch.from_numpy(levels.clip(20, 230).astype(np.uint8))


def map_frames(clips: Tensor, change: Callable[[Any, int], Any]) -> Tensor:
    """`change(image, number of the clip)` of each frame as a PIL image, as a tensor of clips."""
    changed = [
        [np.asarray(change(to_pil_image(frame), number)) for frame in clip] for number, clip in enumerate(clips.numpy())
    ]
    return torch.from_numpy(np.stack(changed))


def differences(one: Tensor, other: Tensor) -> Tensor:
    """Absolute differences of grey levels."""
    return (one.int() - other.int()).abs()


class UniformRandom:
    """The functions of Python's `random` that timm calls, from given numbers in [0, 1)."""

    def __init__(self, numbers: Iterable[float]) -> None:
        self._numbers = iter(numbers)

    def random(self) -> float:
        return float(next(self._numbers))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def randint(self, low: int, high: int) -> int:
        return low + int(self.random() * (high - low + 1))

    def choice(self, values):
        return values[int(self.random() * len(values))]
