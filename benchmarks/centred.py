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


class TurnedWindows(CentredWindows):
    """Centred windows of every clip as it is and after quarter turns; clips of one turn are of classes of their own.

    Args:
        clips: where the clips are read from.
        rows: the clips.
        frames: frames of a window, each a tick apart.
        size: of the crops, even.
        turns: 1 to 4; a clip is turned by 0 to `turns - 1` quarters.
    """

    def __init__(self, clips: Clips, rows: Sequence[Clip], *, frames: int, size: int, turns: int) -> None:
        super().__init__(clips, rows, frames=frames, size=size)
        self._clips, classes = len(self.rows), 1 + max(clip.class_id for clip in self.rows)
        self.rows = tuple(
            replace(clip, class_id=clip.class_id + turn * classes) for turn in range(turns) for clip in self.rows
        )
        self._valid = self._valid.repeat(turns)

    def windows(self, index: Tensor, starts: Tensor) -> Tensor:
        """See `ClipWindows.windows`: (B, frames, size, size, 3) uint8."""
        frames = super().windows(index % self._clips, starts)
        turns = (index // self._clips).tolist()
        return torch.stack([clip.rot90(turn, (1, 2)) for clip, turn in zip(frames, turns, strict=True)])


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
