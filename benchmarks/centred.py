"""Windows of clips in which every frame is cropped around what is bright in it, at one scale in a clip."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.jitter import Jitter
from training.clips import Clip, Clips
from training.data.windows import ClipWindows

_BRIGHT = 50  # of 255; what a JPEG leaves around lines on black is darker
_ENOUGH = 5  # bright pixels in a frame; fewer do not count for the scale
_RADII = 1.2  # half the side of a crop, in radii of what is bright
_MARGIN = 2.0  # pixels that are added to it
_LEAST = 4.0  # pixels; a smaller radius counts as this


class CentredWindows(ClipWindows):
    """Windows whose frames are `crop_bright` of the clips' own.

    Args:
        clips: where the clips are read from.
        rows: the clips.
        frames: frames of a window, each a tick apart.
        size: of the crops.
    """

    def __init__(self, clips: Clips, rows: Sequence[Clip], *, frames: int, size: int) -> None:
        super().__init__(clips, rows, frames=frames, stride=1)
        self._size = size

    def windows(self, index: Tensor, starts: Tensor) -> Tensor:
        """See `ClipWindows.windows`: (B, frames, size, size, 3) uint8."""
        return self._cropped(index, starts, None)

    def jittered(self, index: Tensor, jitter: Jitter, generator: Generator) -> Tensor:
        """The middle window of each clip in crops that are moved at random, all of a clip alike; as `windows`."""
        return self._cropped(index, self.even_starts(index, 0, 1), jitter.maps(len(index), generator))

    def _cropped(self, index: Tensor, starts: Tensor, maps: Tensor | None) -> Tensor:
        return crop_bright(super().windows(index, starts), self._size, maps)


class TurnedWindows(CentredWindows):
    """Centred windows of every clip as it is and after quarter turns; clips of one turn are of classes of their own.

    Args:
        clips: where the clips are read from.
        rows: the clips.
        frames: frames of a window, each a tick apart.
        size: of the crops.
        turns: 1 to 4; a clip is turned by 0 to `turns - 1` quarters.
    """

    def __init__(self, clips: Clips, rows: Sequence[Clip], *, frames: int, size: int, turns: int) -> None:
        super().__init__(clips, rows, frames=frames, size=size)
        self._clips, classes = len(self.rows), 1 + max(clip.class_id for clip in self.rows)
        self.rows = tuple(
            replace(clip, class_id=clip.class_id + turn * classes) for turn in range(turns) for clip in self.rows
        )
        self._valid = self._valid.repeat(turns)

    def _cropped(self, index: Tensor, starts: Tensor, maps: Tensor | None) -> Tensor:
        frames = super()._cropped(index % self._clips, starts, maps)
        turns = (index // self._clips).tolist()
        return torch.stack([clip.rot90(turn, (1, 2)) for clip, turn in zip(frames, turns, strict=True)])


class Bright(NamedTuple):
    """The bright pixels of each frame.

    Args:
        centre: their mean place, row before column, (B, T, 2), in pixels.
        radius: root mean square distance from it, (B, T), in pixels; 0 where there are few.
    """

    centre: Tensor
    radius: Tensor

    @classmethod
    def of(cls, frames: Tensor) -> "Bright":
        """Of frames (B, T, S, S, 3) uint8. Where none is bright the centre is the first corner."""
        bright, line = (frames.amax(-1) > _BRIGHT).float(), torch.arange(frames.shape[2]).float()
        number = bright.sum((2, 3))
        by_axis = torch.stack([bright.sum(3), bright.sum(2)], 2) / number.clamp(min=1)[..., None, None]  # (B, T, 2, S)
        centre = by_axis @ line
        variance = (by_axis @ line**2 - centre**2).clamp(min=0).sum(2)
        return cls(centre, variance.sqrt() * (number > _ENOUGH))


def crop_bright(frames: Tensor, size: int, maps: Tensor | None = None) -> Tensor:
    """Crop every frame around its bright pixels, at the scale of the largest bright object of the clip, black outside.

    A frame with few bright pixels is replaced by the last one before it that has more, or by the first after it.

    Args:
        frames: (B, T, S, S, 3) uint8.
        size: of the crops, to which they are scaled.
        maps: of every clip's crops, (B, 2, 3), from those coordinates of the result to those of the crop, both from -1 to 1, as in
            `torch.nn.functional.affine_grid`.

    Returns:
        (B, T, size, size, 3) uint8.
    """
    number, times, side = frames.shape[:3]
    frames = _held(frames, Bright.of(frames).radius > 0)
    bright = Bright.of(frames)
    half = _RADII * bright.radius.amax(1).clamp(min=_LEAST) + _MARGIN  # (B,)
    if maps is None:
        maps = torch.eye(2, 3).repeat(number, 1, 1)
    within = F.affine_grid(maps, [number, 1, size, size], align_corners=False) * half[:, None, None, None]
    places = bright.centre.flip(2)[:, :, None, None] + within[:, None]  # (B, T, size, size, 2), columns before rows
    pictures = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
    cropped = F.grid_sample(pictures, ((2 * places + 1) / side - 1).flatten(0, 1), align_corners=False)
    return cropped.round().byte().permute(0, 2, 3, 1).reshape(number, times, size, size, 3)


def _held(frames: Tensor, shown: Tensor) -> Tensor:
    """Frames (B, T, ...) of which those not `shown`, (B, T), are replaced by the last that is, or by the first."""
    time = torch.arange(frames.shape[1])
    last = torch.where(shown, time, -1).cummax(1).values
    first = shown.int().argmax(1, keepdim=True)
    return frames[torch.arange(len(frames))[:, None], torch.where(last < 0, first, last)]
