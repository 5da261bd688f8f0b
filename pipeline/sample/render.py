"""Draws one clip and encodes it as mp4, the same bytes on every run."""

import io
import math
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.sample.background import draw_background
from pipeline.sample.figure import draw_figure, is_bright, pose_at, random_appearance
from pipeline.sample.motions import Motion

cv2.setNumThreads(0)
_MARGIN = 6  # pixels of background beyond the picture on each side, for the camera's drift

_ENCODER_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "27", "x264-params": "threads=1:sync-lookahead=0:rc-lookahead=0"},
    "libx265": {"preset": "ultrafast", "x265-params": "pools=none:frame-threads=1:log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"},
    "mpeg4": {"qscale": "4"},
}


@dataclass(frozen=True)
class ClipSpec:
    """Everything that decides the bytes of a clip; `key` seeds its random appearance."""

    key: str
    motion: Motion
    width: int
    height: int
    frames: int
    fps: Fraction
    codec: str = "libx264"
    gop: int = 30
    b_frames: int = 2
    faststart: bool = False
    variable_rate: bool = False
    rotation: int = 0


def render_clip(spec: ClipSpec) -> bytes:
    """The clip as an mp4 file."""
    if spec.faststart:
        # Moving the index to the front is a second pass, for which FFmpeg opens the file again by its name.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            _encode(spec, str(path), {"movflags": "faststart"})
            return path.read_bytes()
    file = io.BytesIO()
    _encode(spec, file, {})
    return file.getvalue()


def audio_only_mp4(seconds: float = 2.0) -> bytes:
    """An mp4 file with a silent audio stream and no video stream."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def draw_frames(spec: ClipSpec) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The frames of a clip: timestamp in the encoder's time base, and picture `(H, W, 3) uint8` RGB."""
    rng = random.Random(spec.key)
    appearance = random_appearance(rng)
    width, height = spec.width, spec.height
    background = draw_background(rng, width + 2 * _MARGIN, height + 2 * _MARGIN, dark=is_bright(appearance))
    drift_x, drift_y, drift_phase = appearance.camera
    for number in range(spec.frames):
        seconds = number * spec.fps.denominator / spec.fps.numerator
        if spec.variable_rate and number:
            # Each frame is early or late by up to a third of a frame; the average rate stays.
            seconds = float((number + Fraction(rng.uniform(-0.33, 0.33))) / spec.fps)
        drift = math.sin(drift_phase + 0.8 * seconds)
        left = _MARGIN + round(max(-_MARGIN, min(_MARGIN, drift_x * width * drift)))
        top = _MARGIN + round(max(-_MARGIN, min(_MARGIN, drift_y * height * drift)))
        picture = background[top : top + height, left : left + width].copy()
        draw_figure(picture, pose_at(spec.motion, appearance, seconds), appearance)
        yield (round(seconds * 1000) if spec.variable_rate else number), picture


def _encode(spec: ClipSpec, file: str | io.BytesIO, options: dict[str, str]) -> None:
    with av.open(file, "w", format="mp4", options=options) as container:
        stream = container.add_stream(spec.codec, rate=spec.fps, options=_ENCODER_OPTIONS[spec.codec])
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = spec.gop
        if spec.codec in ("libx264", "mpeg4"):
            stream.codec_context.max_b_frames = spec.b_frames
        if spec.rotation:
            stream.set_display_rotation(spec.rotation)
        time_base = Fraction(1, 1000) if spec.variable_rate else 1 / spec.fps
        stream.codec_context.time_base = time_base
        for pts, picture in draw_frames(spec):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = pts, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
