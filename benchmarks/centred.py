"""Windows of clips in which every frame is cropped around what is bright in it."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from training.clips import Clip, Clips
from training.data.windows import ClipWindows

_BRIGHT = 50  # of 255; what a JPEG leaves around lines on black is darker


class CentredWindows(ClipWindows):
    """Windows whose frames are `crop_bright` of the clips' own.

    Args:
        clips: where the clips are read from.
        rows: the clips.
        frames: frames of a window, each a tick apart.
        size: of the crops, even.
    """

    def __init__(self, clips: Clips, rows: Sequence[Clip], *, frames: int, size: int) -> None:
        super().__init__(clips, rows, frames=frames, stride=1)
        self._size = size

    def windows(self, index: Tensor, starts: Tensor) -> Tensor:
        """See `ClipWindows.windows`: (B, frames, size, size, 3) uint8."""
        return crop_bright(super().windows(index, starts), self._size)


class SymmetricWindows(CentredWindows):
    """Centred windows of every clip as it is, turned, mirrored and backwards; clips of one symmetry are of classes of their own.

    Symmetry n is n % 4 quarter turns, after a mirror image if n // 4 is odd, after the reversal of time if n is at least 8.

    Args:
        clips: where the clips are read from.
        rows: the clips.
        frames: frames of a window, each a tick apart.
        size: of the crops, even.
        symmetries: 1 to 16.
    """

    def __init__(self, clips: Clips, rows: Sequence[Clip], *, frames: int, size: int, symmetries: int) -> None:
        super().__init__(clips, rows, frames=frames, size=size)
        self._clips, classes = len(self.rows), 1 + max(clip.class_id for clip in self.rows)
        self.rows = tuple(
            replace(clip, class_id=clip.class_id + number * classes)
            for number in range(symmetries)
            for clip in self.rows
        )
        self._valid = self._valid.repeat(symmetries)

    def windows(self, index: Tensor, starts: Tensor) -> Tensor:
        """See `ClipWindows.windows`: (B, frames, size, size, 3) uint8."""
        frames = super().windows(index % self._clips, starts)
        symmetries = (index // self._clips).tolist()
        return torch.stack([_moved(clip, number) for clip, number in zip(frames, symmetries, strict=True)])


def crop_bright(frames: Tensor, size: int) -> Tensor:
    """Crop every frame around the mean place of its bright pixels, with black outside of the frame.

    Args:
        frames: (B, T, S, S, 3) uint8. In a frame without bright pixels the place is its first corner.
        size: of the crops, even.

    Returns:
        (B, T, size, size, 3) uint8.
    """
    bright = (frames.amax(-1) > _BRIGHT).float()
    count, line = bright.sum((2, 3)).clamp(min=1), torch.arange(frames.shape[2]).float()
    along = torch.arange(size)
    top = ((bright.sum(3) * line).sum(2) / count).round().long()[..., None] + along  # (B, T, size), in the padded frame
    left = ((bright.sum(2) * line).sum(2) / count).round().long()[..., None] + along
    padded = F.pad(frames, (0, 0, *4 * (size // 2,)))
    batch, time = torch.meshgrid(*map(torch.arange, frames.shape[:2]), indexing="ij")
    return padded[batch[..., None, None], time[..., None, None], top[..., :, None], left[..., None, :]]


def _moved(clip: Tensor, symmetry: int) -> Tensor:
    """A clip (T, size, size, 3) after a symmetry; see `SymmetricWindows`."""
    axes = [axis for axis, moved in ((0, symmetry // 8), (2, symmetry // 4 % 2)) if moved]
    return clip.flip(axes).rot90(symmetry % 4, (1, 2))
