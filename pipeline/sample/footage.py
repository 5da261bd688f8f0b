"""One drawn clip as the bytes of a video file, the same bytes on every run."""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sample.body import draw_temper, perform
from pipeline.sample.look import draw_look, paint
from pipeline.sample.motions import Motion

_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "23", "x264-params": "threads=1:sync-lookahead=0:rc-lookahead=0"},
    "libx265": {"preset": "ultrafast", "crf": "25", "x265-params": "pools=none:frame-threads=1:log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"},
    "mpeg4": {"qscale": "4", "flags": "+qscale", "global_quality": str(4 * 118)},
}
_MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Footage:
    """What to film. `key` decides all that is left to chance, `width` and `height` are what a viewer sees."""

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
    rotation: int = 0  # degrees counter-clockwise by which a player turns the stored picture
    sound: bool = False


def film(footage: Footage) -> bytes:
    """Draw and encode one clip as mp4."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "faststart"} if footage.faststart else {}) as container:
        stream = container.add_stream(footage.codec, rate=footage.fps, options=_OPTIONS[footage.codec])
        turned = footage.rotation % 180 != 0
        stream.width, stream.height = (footage.height, footage.width)[:: 1 if turned else -1]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count, context.gop_size = 1, footage.gop
        context.time_base = _MILLISECOND if footage.variable_rate else 1 / footage.fps
        if footage.codec in ("libx264", "mpeg4"):
            context.max_b_frames = footage.b_frames
        if footage.rotation:
            stream.set_display_rotation(footage.rotation)
        sound = container.add_stream("aac", rate=8000, layout="mono") if footage.sound else None
        for pts, picture in _pictures(footage):
            frame = av.VideoFrame.from_ndarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), format="yuv420p")
            frame.pts, frame.time_base = pts, context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _mux_silence(container, sound, float(footage.frames / footage.fps))
    return file.getvalue()


def silence(seconds: float) -> bytes:
    """An mp4 with a sound track and no video."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        _mux_silence(container, container.add_stream("aac", rate=8000, layout="mono"), seconds)
    return file.getvalue()


def _mux_silence(container, stream, seconds: float) -> None:  # type: ignore[no-untyped-def]
    frame = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts = 8000, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _pictures(footage: Footage) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Timestamps in the encoder's time base, and pictures `(H, W, 3) uint8` RGB as they are stored."""
    chance = random.Random(footage.key)
    temper, look = draw_temper(chance), draw_look(chance)
    seconds = np.arange(footage.frames) / float(footage.fps)
    if footage.variable_rate:
        # A variable rate keeps its average and lets every frame but the first be early or late by a third of a frame.
        late = np.array([0.0, *(chance.uniform(-0.33, 0.33) for _ in range(footage.frames - 1))])
        seconds = seconds + late / float(footage.fps)
    poses = perform(footage.motion, temper, seconds)
    for number, picture in enumerate(paint(poses, look, seconds, footage.width, footage.height, chance)):
        stored = np.ascontiguousarray(np.rot90(picture, -footage.rotation // 90)) if footage.rotation else picture
        yield (round(seconds[number] * 1000) if footage.variable_rate else number), stored
