"""Filmstrips: a clip's frames stacked in one image, 64 wide and 6400 tall for 100 frames of 64x64.

Decoding the image and reshaping it gives `(100, 64, 64, 3)`. As 64 is a multiple of the JPEG block size, compression
does not blend neighbouring frames.
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
from pipeline.video import decode_time
from pipeline.video.decode import timed_frames
from pipeline.video.orientation import Orientation, pixel_aspect_ratio
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
    """Decode a freshly opened stream once; return the frame of each tick, `(len(timeline), size, size, 3) uint8` RGB.

    Args:
        timeline: presentation time of each tick's frame, in units of the stream's time base.
        clock: where the times of frames come from.
        size: width and height of the result, pixels.
        fit: `stretch` each frame to the square, or `letterbox` it with black bars.
        skip: let the decoder skip frames that no tick shows and no other frame refers to. The result is the same;
            correct only for a timeline read from packets.

    Raises:
        ClipError: decode_error when a frame on the timeline is damaged or cannot be decoded.
    """
    wanted = set(timeline)
    last = max(wanted)
    pictures: dict[int, Picture] = {}
    orientation: Orientation | None = None  # set by the container, so the same for all frames
    aspect = pixel_aspect_ratio(stream)
    for time, frame in decode_time.measured(timed_frames(container, stream, clock, wanted if skip else None)):
        if time in wanted:
            if frame.is_corrupt:
                raise ClipError(Failure.DECODE_ERROR, f"the frame at {_format_time(time, stream)} is damaged")
            orientation = orientation or Orientation.from_display_matrix(frame)
            pictures[time] = _to_square(frame, orientation, aspect, size, fit)
        if time >= last:
            break
    missing = wanted - pictures.keys()
    if missing:
        first = _format_time(min(missing), stream)
        number = "1 frame" if len(missing) == 1 else f"{len(missing)} frames"
        raise ClipError(Failure.DECODE_ERROR, f"{number} could not be decoded, the first at {first}")
    return np.stack([pictures[pts] for pts in timeline])


def _to_square(frame: VideoFrame, orientation: Orientation, aspect: float, size: int, fit: Fit) -> Picture:
    """The frame, upright, as `(size, size, 3)`; `aspect` is that of its pixels."""
    if fit == "stretch":
        # Rotation and mirroring of a square commute with stretching to it.
        return orientation.apply(to_picture(frame, size, size))
    scale = size / max(frame.width * aspect, frame.height)
    width, height = max(1, round(frame.width * aspect * scale)), max(1, round(frame.height * scale))
    picture = orientation.apply(to_picture(frame, width, height))
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - picture.shape[0]) // 2, (size - picture.shape[1]) // 2
    square[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return square


def _format_time(pts: int, stream: VideoStream) -> str:
    return f"{float(pts * (stream.time_base or 0)):.2f} s"


def encode(frames: NDArray[np.uint8], *, format: Literal["jpg", "webp"], quality: int) -> bytes:
    """Encode frames `(T, S, S, 3) uint8` RGB as one image file.

    JPEG keeps full chroma resolution (4:4:4); WebP of quality 100 is lossless.

    Raises:
        ClipError: decode_error when the image cannot be encoded.
    """
    image = cv2.cvtColor(frames.reshape(-1, frames.shape[2], 3), cv2.COLOR_RGB2BGR)  # OpenCV encodes BGR
    if format == "jpg":
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    else:
        settings = [cv2.IMWRITE_WEBP_QUALITY, 101 if quality == 100 else quality]  # 101: lossless
    encoded, data = cv2.imencode(f".{format}", image, settings)
    if not encoded:
        raise ClipError(Failure.DECODE_ERROR, f"an image of shape {image.shape} could not be encoded as {format}")
    return data.tobytes()


def decode(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode a filmstrip file to `(T, size, size, 3) uint8` RGB.

    Raises:
        ValueError: the bytes are not an image, or its shape is not a stack of `size` x `size` frames.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        raise ValueError("not an image")
    if image.shape[1] != size or image.shape[0] % size:
        raise ValueError(f"an image of {image.shape[1]}x{image.shape[0]} is not a filmstrip of {size}x{size} frames")
    return image.reshape(-1, size, size, 3).astype(np.uint8, copy=False)
