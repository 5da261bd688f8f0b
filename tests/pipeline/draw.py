"""Test videos whose frames show their own number, and helpers that read the numbers back from filmstrips.

A frame's number is drawn as twelve black or white blocks, which are still readable at 64x64.
"""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray

from pipeline.params import Resample, Resize, Trim
from pipeline.records.rows import DownloadRow, ResampleRow, ResizeRow, TrimRow
from pipeline.resample import resample
from pipeline.resize import resize
from pipeline.trim import trim

ROWS, COLUMNS = 3, 4  # blocks of a counter
TRIM = Trim(margin_s=1.0)
RESAMPLE = Resample(fps=10, frames=100, min_frames=1, pad="loop")
JPEG = Resize(size=64, fit="stretch", format="jpg", quality=95, timeout_s=60)
LOSSLESS = Resize(size=64, fit="stretch", format="webp", quality=100, timeout_s=60)
LETTERBOX = Resize(size=64, fit="letterbox", format="webp", quality=100, timeout_s=60)
_FAST_SETTINGS = {
    "libx264": {"preset": "ultrafast", "crf": "20", "x264-params": "threads=1"},
    "libx265": {"preset": "ultrafast", "crf": "20", "x265-params": "pools=none:frame-threads=1:log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
    "mpeg4": {"qscale": "3", "flags": "+qscale", "global_quality": str(3 * 118)},
}


# Writing videos


def counter_picture(number: int, width: int = 128, height: int = 96) -> NDArray[np.uint8]:
    """A picture `(height, width, 3)` that shows `number` in binary, lowest bit at the top left."""
    bits = [(number >> bit) & 1 for bit in range(ROWS * COLUMNS)]
    blocks = np.array(bits, np.uint8).reshape(ROWS, COLUMNS) * 255
    plane = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.repeat(plane[..., None], 3, axis=2)


def frame_times(frames: int, fps: float | Fraction, start: Fraction = Fraction(0)) -> list[Fraction]:
    """Presentation times, in seconds, of `frames` frames at a constant rate."""
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
    """Encode a video whose frame n is presented at `times[n]` seconds and shows the number n, unless `pictures` are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    step = times[1] - times[0] if len(times) > 1 else Fraction(1, 10)
    time_base = time_base or step
    with av.open(str(path), "w", options={}, **(container or {})) as output:
        stream = output.add_stream(codec, rate=1 / step, options=_FAST_SETTINGS[codec] | (options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count, context.gop_size, context.time_base = 1, gop, time_base
        if codec in ("libx264", "mpeg4"):
            context.max_b_frames = b_frames
        if rotation:
            stream.set_display_rotation(rotation)
        if pictures is None:
            pictures = (counter_picture(number, *size) for number in range(len(times)))
        for time, picture in zip(times, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time / time_base), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_audio(path: Path, seconds: float = 1.0) -> Path:
    """Write a file with a silent audio track and no video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def run_ffmpeg(*arguments: object) -> None:
    """Run imageio-ffmpeg's binary; raises CalledProcessError if it fails."""
    command = [get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


# Processing and reading back


@dataclass(frozen=True)
class ProcessedClip:
    """A clip after trim, resample and resize, as the rows of the three stages."""

    trim: TrimRow
    resample: ResampleRow
    resize: ResizeRow

    @property
    def filmstrip(self) -> NDArray[np.uint8]:
        """`(100, 64, 64, 3)` RGB."""
        return read_filmstrip(self.resize.path)

    @property
    def counters(self) -> list[int]:
        """The frame number that each tick shows, padding excluded."""
        return read_counters(self.filmstrip[: self.resize.valid_frames])


def process_clip(
    path: str | Path,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    resample_settings: Resample = RESAMPLE,
    resize_settings: Resize = JPEG,
    clip_id: str = "clip",
) -> ProcessedClip:
    """Trim, resample and resize one file, or the window from `start_s` to `end_s` of it."""
    downloaded = DownloadRow(
        clip_id=clip_id,
        source="own",
        video_id=clip_id,
        labels=("label",),
        path=str(path),
        bytes=0,
        sha256="",
        precut=start_s is None,
        start_s=start_s,
        end_s=end_s,
    )
    trimmed = trim(downloaded, TRIM)
    resampled = resample(trimmed, resample_settings)
    return ProcessedClip(trimmed, resampled, resize(resampled, resize_settings))


def read_filmstrip(path: str | Path, size: int = 64) -> NDArray[np.uint8]:
    """A filmstrip read by OpenCV alone: `(T, size, size, 3)` RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, f"{path} is not an image"
    return np.asarray(image[..., ::-1].reshape(-1, size, size, 3), np.uint8)


def read_counter(picture: NDArray[np.uint8]) -> int:
    """The number shown in a counter picture of any size."""
    height, width = picture.shape[:2]
    number = 0
    for bit in range(ROWS * COLUMNS):
        row, column = divmod(bit, COLUMNS)
        y, x = round((row + 0.5) * height / ROWS), round((column + 0.5) * width / COLUMNS)
        number |= int(picture[y - 1 : y + 2, x - 1 : x + 2].mean() > 127) << bit
    return number


def read_counters(frames: NDArray[np.uint8]) -> list[int]:
    """The number shown in each frame of a filmstrip."""
    return [read_counter(picture) for picture in frames]


# Expected results


def frames_on_screen(times: Sequence[Fraction], instants: Iterable[Fraction]) -> list[int]:
    """The number of the frame on screen at each instant, in seconds after the first frame, by linear search."""
    numbers = []
    for instant in instants:
        number = 0
        while number + 1 < len(times) and times[number + 1] - times[0] <= instant:
            number += 1
        numbers.append(number)
    return numbers


def expected_counters(
    times: Sequence[Fraction], count: int = 100, start: Fraction = Fraction(0), fps: int = 10
) -> list[int]:
    """The frame numbers that up to `count` ticks from `start` should show; fewer if the video ends before."""
    last_step = times[-1] - times[-2]
    length = times[-1] - times[0] + last_step - start
    valid = min(count, next(tick for tick in range(10_000) if Fraction(tick, fps) >= length))
    return frames_on_screen(times, [start + Fraction(tick, fps) for tick in range(valid)])
