"""One drawn clip as the bytes of a video file, the same bytes on every run."""

import io
import math
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sample.figure import draw_figure, draw_look, is_bright, pose_at
from pipeline.sample.motions import Motion
from pipeline.sample.scene import draw_scene

cv2.setNumThreads(0)
_DRIFT = 6  # pixels of scene beyond the picture on each side, for the camera to move over

_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "27", "x264-params": "threads=1:sync-lookahead=0:rc-lookahead=0"},
    "libx265": {"preset": "ultrafast", "x265-params": "pools=none:frame-threads=1:log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"},
    "mpeg4": {"qscale": "4"},
}


@dataclass(frozen=True)
class Footage:
    """What to draw: `key` decides everything that is left to chance."""

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


def film(footage: Footage) -> bytes:
    """Draw and encode one clip as mp4."""
    if footage.faststart:
        # Moving the index to the front takes a second pass over a file with a name.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            _encode(footage, str(path), {"movflags": "faststart"})
            return path.read_bytes()
    file = io.BytesIO()
    _encode(footage, file, {})
    return file.getvalue()


def silence(seconds: float = 2.0) -> bytes:
    """An mp4 with a sound track and no video."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def pictures(footage: Footage) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Timestamps in the encoder's time base, and pictures `(H, W, 3) uint8` RGB."""
    chance = random.Random(footage.key)
    look = draw_look(chance)
    width, height = footage.width, footage.height
    scene = draw_scene(chance, width + 2 * _DRIFT, height + 2 * _DRIFT, dark=is_bright(look))
    for number in range(footage.frames):
        # A variable rate keeps its average and lets every frame be early or late by up to a third of a frame.
        late = chance.uniform(-0.33, 0.33) if footage.variable_rate and number else 0.0
        moment = float((number + Fraction(late)) / footage.fps)
        sway = math.sin(look.camera[2] + 0.8 * moment)
        left = _DRIFT + round(max(-_DRIFT, min(_DRIFT, look.camera[0] * width * sway)))
        top = _DRIFT + round(max(-_DRIFT, min(_DRIFT, look.camera[1] * height * sway)))
        canvas = scene[top : top + height, left : left + width].copy()
        draw_figure(canvas, pose_at(footage.motion, look, moment), look)
        yield (round(moment * 1000) if footage.variable_rate else number), canvas


def _encode(footage: Footage, file: str | io.BytesIO, options: dict[str, str]) -> None:
    with av.open(file, "w", format="mp4", options=options) as container:
        stream: Any = container.add_stream(footage.codec, rate=footage.fps, options=_OPTIONS[footage.codec])
        stream.width, stream.height, stream.pix_fmt = footage.width, footage.height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = footage.gop
        if footage.codec in ("libx264", "mpeg4"):
            stream.codec_context.max_b_frames = footage.b_frames
        if footage.rotation:
            stream.set_display_rotation(footage.rotation)
        clock = Fraction(1, 1000) if footage.variable_rate else 1 / footage.fps
        stream.codec_context.time_base = clock
        for pts, picture in pictures(footage):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = pts, clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
