"""Animated pictures of clips, GIF or WebP, that play at the ticks' own rate. All pictures are `(H, W, 3) uint8` RGB."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.tools.contact_sheet import stack, text
from pipeline.video.picture import Picture

_OPTIONS = {
    # A colour table for each frame, with the finest dither: OpenCV's defaults are off by five times as much.
    ".gif": [cv2.IMWRITE_GIF_COLORTABLE, 1, cv2.IMWRITE_GIF_DITHER, 3, cv2.IMWRITE_GIF_QUALITY, 2],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 50],
}
SUFFIXES = tuple(_OPTIONS)
_SCALE = 2  # factor by which a clip is enlarged
_COLUMNS = 6  # clips side by side


def tile(clips: Sequence[Picture], title: str) -> list[Picture]:
    """Clips side by side as the frames of one animation, under a title.

    Args:
        clips: `(T, H, W, 3)` each, of one size; a shorter clip starts again until the longest one ends.
        title: one line, cut off at the width of the clips.
    """
    enlarged = [clip.repeat(_SCALE, 1).repeat(_SCALE, 2) for clip in clips]
    padded = [np.pad(clip, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255) for clip in enlarged]
    rows = [padded[start : start + _COLUMNS] for start in range(0, len(padded), _COLUMNS)]
    label = text([title], width=padded[0].shape[2] * len(rows[0]))
    length = max(map(len, clips))
    return [stack([[label], *([clip[tick % len(clip)] for clip in row] for row in rows)]) for tick in range(length)]


def encode(frames: Sequence[Picture], suffix: str, *, fps: float) -> bytes:
    """The bytes of an animation that repeats for ever.

    Args:
        suffix: one of `SUFFIXES`.
        fps: frames per second; GIF rounds a frame's time to hundredths of a second.

    Raises:
        ValueError: there is no such animation format.
    """
    if suffix not in SUFFIXES:
        raise ValueError(f"no animation format for the suffix {suffix!r}")
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]  # OpenCV encodes BGR
    animation.durations = [round(1000 / fps)] * len(frames)  # milliseconds
    _, data = cv2.imencodeanimation(suffix, animation, _OPTIONS[suffix])
    return bytes(data.tobytes())
