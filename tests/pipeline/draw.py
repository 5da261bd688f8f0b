"""Videos whose every frame carries its number: twelve black or white blocks, readable at 64x64."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 3, 4
_QUICK = {
    "libx264": {"preset": "ultrafast", "crf": "20", "x264-params": "threads=1"},
    "libx265": {"preset": "ultrafast", "crf": "20", "x265-params": "pools=none:frame-threads=1:log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
    "mpeg4": {"qscale": "3", "flags": "+qscale", "global_quality": str(3 * 118)},
}


def counter(number: int, width: int = 128, height: int = 96) -> NDArray[np.uint8]:
    """A picture `(height, width, 3)` of `number`, lowest bit at the top left."""
    bits = [(number >> bit) & 1 for bit in range(ROWS * COLUMNS)]
    blocks = np.array(bits, np.uint8).reshape(ROWS, COLUMNS) * 255
    plane = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.repeat(plane[..., None], 3, axis=2)


def read_counter(picture: NDArray[np.uint8]) -> int:
    """The number in a picture of any size."""
    height, width = picture.shape[:2]
    number = 0
    for bit in range(ROWS * COLUMNS):
        row, column = divmod(bit, COLUMNS)
        y, x = round((row + 0.5) * height / ROWS), round((column + 0.5) * width / COLUMNS)
        number |= int(picture[y - 1 : y + 2, x - 1 : x + 2].mean() > 127) << bit
    return number


def steady(frames: int, fps: float | Fraction, start: Fraction = Fraction(0)) -> list[Fraction]:
    """Times in seconds of `frames` frames at a constant rate."""
    return [start + Fraction(number) / Fraction(fps) for number in range(frames)]


def write_video(
    path: Path,
    times: Sequence[Fraction],
    *,
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    time_base: Fraction | None = None,
    size: tuple[int, int] = (128, 96),
    pictures: Iterable[NDArray[np.uint8]] | None = None,
    rotation: int = 0,
    container: dict[str, Any] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode frame n (by default the picture of the number n) to be shown at `times[n]` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    step = times[1] - times[0] if len(times) > 1 else Fraction(1, 10)
    time_base = time_base or step
    with av.open(str(path), "w", options={}, **(container or {})) as output:
        stream = output.add_stream(codec, rate=1 / step, options=_QUICK[codec] | (options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count, context.gop_size, context.time_base = 1, gop, time_base
        if codec in ("libx264", "mpeg4"):
            context.max_b_frames = b_frames
        if rotation:
            stream.set_display_rotation(rotation)
        shown = pictures if pictures is not None else (counter(number, *size) for number in range(len(times)))
        for time, picture in zip(times, shown, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time / time_base), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """A file with a silent sound track and no video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def read_strip(path: str | Path, size: int = 64) -> NDArray[np.uint8]:
    """A filmstrip as any reader would open it: `(T, size, size, 3)` RGB."""
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1].reshape(-1, size, size, 3)


def numbers_in(strip: NDArray[np.uint8]) -> list[int]:
    """The number that each frame of a filmstrip carries."""
    return [read_counter(picture) for picture in strip]


def on_screen(times: Sequence[Fraction], instants: Iterable[Fraction]) -> list[int]:
    """By the plainest of loops: the last frame whose time has come, for each instant after the first frame."""
    shown = []
    for instant in instants:
        number = 0
        while number + 1 < len(times) and times[number + 1] - times[0] <= instant:
            number += 1
        shown.append(number)
    return shown
