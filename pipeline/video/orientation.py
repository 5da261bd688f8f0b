"""Rotation, mirroring and pixel shape that a file asks players to apply."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """A rotation by a multiple of 90 degrees with or without mirroring, as steps in the order of the fields."""

    transpose: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False

    @classmethod
    def from_display_matrix(cls, frame: VideoFrame) -> "Orientation":
        """The orientation by the frame's display matrix, to the nearest right angle; identity if it has none.

        ISO 14496-12: the linear part of the matrix, `[[a, b], [c, d]]`, maps a point to `(a x + c y, b x + d y)`.
        """
        try:
            side_data = cast(SideDataContainer, frame.side_data)  # PyAV's stub declares motion vectors only
        except ValueError:  # a kind of side data that PyAV has no name for, such as view numbers of multi-view HEVC
            return cls.from_rotation(rotation_of(frame))
        if Type.DISPLAYMATRIX not in side_data:
            return cls()
        (a, b), (c, d) = np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), np.int32).reshape(3, 3)[:2, :2].tolist()
        if abs(a) < abs(b):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    @classmethod
    def from_rotation(cls, degrees: int) -> "Orientation":
        """The orientation that turns a picture counter-clockwise, to the nearest right angle."""
        return {0: cls(), 1: cls(True, flip_vertical=True), 2: cls(False, True, True), 3: cls(True, True)}[
            round(degrees / 90) % 4
        ]

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Transpose and flip `picture`, `(H, W, 3)`."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        if self.flip_horizontal:
            picture = picture[:, ::-1]
        return picture[::-1] if self.flip_vertical else picture


def rotation_of(frame: VideoFrame) -> int:
    """Degrees counter-clockwise by which players turn the frame; 0 for a matrix of zeros, which has no angle."""
    return frame.rotation if abs(frame.rotation) <= 360 else 0


def pixel_aspect_ratio(stream: VideoStream) -> float:
    """Width of a pixel divided by its height; 1 if the stream has no sample aspect ratio."""
    return float(stream.sample_aspect_ratio or 1) or 1.0
