"""How a player turns, mirrors and stretches a frame before it shows it."""

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray


def is_transposed(frame: VideoFrame) -> bool:
    """Whether the frame is shown on its side."""
    return abs(_matrix(frame)[0, 0]) < abs(_matrix(frame)[0, 1])


def orient(picture: NDArray[np.uint8], frame: VideoFrame) -> NDArray[np.uint8]:
    """`picture`, `(H, W, 3)`, drawn from `frame`, as the frame's display matrix wants it, to the nearest right angle."""
    (a, b), (c, d) = _matrix(frame)
    if is_transposed(frame):
        picture, a, d = picture.transpose(1, 0, 2), c, b
    if a < 0:
        picture = picture[:, ::-1]
    if d < 0:
        picture = picture[::-1]
    return picture


def _matrix(frame: VideoFrame) -> NDArray[np.int32]:
    """The linear part `[[a, b], [c, d]]` of ISO 14496-12's matrix: a point goes to `(a x + c y, b x + d y)`."""
    if Type.DISPLAYMATRIX not in frame.side_data:
        return np.eye(2, dtype=np.int32)
    data = bytes(frame.side_data[Type.DISPLAYMATRIX])  # type: ignore[typeddict-item]  # the stub lists decoded kinds only
    return np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2]


def pixel_shape(stream: VideoStream) -> float:
    """Width of a pixel over its height."""
    return float(stream.sample_aspect_ratio or 1) or 1.0
