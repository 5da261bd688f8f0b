"""The filmstrip: a clip's frames under one another in one image, 64 wide and 6400 tall.

`cv2.imdecode(...)` and a reshape give `(100, 64, 64, 3)` back. The frame size is a multiple of every JPEG block, so
frames never bleed into each other.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.records.failures import ClipError, Failure
from pipeline.video.decode import timed_frames
from pipeline.video.orientation import Orientation, pixel_shape
from pipeline.video.packets import Clock
from pipeline.video.picture import Picture, to_picture

Fit = Literal["stretch", "letterbox"]


def decode_ticks(
    container: InputContainer,
    stream: VideoStream,
    timeline: Sequence[int],
    *,
    clock: Clock,
    size: int,
    fit: Fit,
    skip: bool,
) -> NDArray[np.uint8]:
    """Decode a freshly opened stream once and return its ticks, `(len(timeline), size, size, 3) uint8` RGB.

    Args:
        timeline: time of each tick's frame, in the stream's time base.
        clock: where the times of frames come from.
        skip: let the decoder drop frames that no tick shows and no other frame refers to. Exact, but only where
            packets carry the timestamps that frames will have.

    Raises:
        ClipError: decode_error when a frame on the timeline does not come out of the decoder.
    """
    wanted = set(timeline)
    last = max(wanted)
    pictures: dict[int, Picture] = {}
    orientation: Orientation | None = None  # the container's, so one for all frames
    pixel = pixel_shape(stream)
    for time, frame in timed_frames(container, stream, clock, wanted if skip else None):
        if time in wanted:
            if frame.is_corrupt:
                raise ClipError(Failure.DECODE_ERROR, f"the frame at {_seconds(time, stream)} is damaged")
            orientation = orientation or Orientation.of(frame)
            pictures[time] = _fitted(frame, orientation, pixel, size, fit)
        if time >= last:
            break
    missing = wanted - pictures.keys()
    if missing:
        first = _seconds(min(missing), stream)
        raise ClipError(Failure.DECODE_ERROR, f"{len(missing)} frames could not be decoded, the first at {first}")
    return np.stack([pictures[pts] for pts in timeline])


def _fitted(frame: VideoFrame, orientation: Orientation, pixel: float, size: int, fit: Fit) -> Picture:
    if fit == "stretch":
        # Turning and mirroring a square commute with stretching to it.
        return orientation.apply(to_picture(frame, size, size))
    scale = size / max(frame.width * pixel, frame.height)
    width, height = max(1, round(frame.width * pixel * scale)), max(1, round(frame.height * scale))
    inner = orientation.apply(to_picture(frame, width, height))
    canvas = np.zeros((size, size, 3), np.uint8)
    top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas


def _seconds(pts: int, stream: VideoStream) -> str:
    return f"{float(pts * (stream.time_base or 0)):.2f} s"


def encode(frames: NDArray[np.uint8], *, format: Literal["jpg", "webp"], quality: int) -> bytes:
    """Frames `(T, S, S, 3) uint8` RGB as one image file. JPEG keeps full chroma (4:4:4); WebP at 100 is lossless."""
    strip = frames.reshape(-1, frames.shape[2], 3)[..., ::-1]
    if format == "jpg":
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    else:
        options = [cv2.IMWRITE_WEBP_QUALITY, 101 if quality == 100 else quality]
    done, data = cv2.imencode(f".{format}", np.ascontiguousarray(strip), options)
    if not done:
        raise ClipError(Failure.DECODE_ERROR, f"a filmstrip of {strip.shape} could not be encoded as {format}")
    return data.tobytes()


def decode(data: bytes, size: int) -> NDArray[np.uint8]:
    """A filmstrip file back to `(T, size, size, 3) uint8` RGB.

    Raises:
        ValueError: the bytes are no image, or its shape is no stack of `size` x `size` frames.
    """
    strip = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if strip is None:
        raise ValueError("not an image")
    if strip.shape[1] != size or strip.shape[0] % size:
        raise ValueError(f"an image of {strip.shape[1]}x{strip.shape[0]} is no filmstrip of {size}x{size} frames")
    return strip.reshape(-1, size, size, 3).astype(np.uint8, copy=False)
