"""How a player turns, mirrors and stretches a frame before it shows it."""

from dataclasses import dataclass

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """Turns by right angles and mirrorings, done in the order of the fields."""

    transposed: bool = False  # rows become columns
    mirrored: bool = False  # left and right change places
    upside_down: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """What the display matrix of `frame` says, to the nearest right angle.

        ISO 14496-12: the linear part of the matrix, `[[a, b], [c, d]]`, sends a point to `(a x + c y, b x + d y)`.
        """
        if Type.DISPLAYMATRIX not in frame.side_data:
            return cls()
        data = bytes(frame.side_data[Type.DISPLAYMATRIX])  # type: ignore[typeddict-item]  # the stub lists decoded kinds only
        (a, b), (c, d) = np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2].tolist()
        if abs(a) < abs(b):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`picture`, `(H, W, 3)`, as it is to be shown."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        if self.mirrored:
            picture = picture[:, ::-1]
        return picture[::-1] if self.upside_down else picture


def pixel_shape(stream: VideoStream) -> float:
    """Width of a pixel over its height."""
    return float(stream.sample_aspect_ratio or 1) or 1.0
