"""The timeline of a clip: for each tick, the timestamp of the frame on screen at that instant.

Tick k shows the frame with the largest presentation timestamp not after `start + k / fps`; where the source is slower
than the ticks, frames repeat. Only timestamps count: nominal frame rates of containers are often wrong.
"""

import bisect
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pipeline.records.failures import ClipError, Failure
from pipeline.video.frames import FrameTimes

# Seconds. Start times are floats and some containers round to microseconds: a frame due at a tick may seem later.
_TOLERANCE = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class Timeline:
    """One presentation timestamp per tick, and what the clip had before resampling."""

    pts: list[int]  # in units of the time base
    valid_frames: int  # ticks that show the clip; those after them are padding
    source_frames: int  # frames in the clip
    avg_fps: float  # frames per second by timestamps


def make_timeline(
    frames: FrameTimes,
    *,
    lead_in_s: float,
    duration_s: float | None,
    fps: int,
    count: int,
    pad: Literal["loop", "hold"],
) -> Timeline:
    """Choose the frame on screen at each of `count` ticks, `fps` a second.

    Args:
        lead_in_s: seconds from the first frame to the start of the clip.
        duration_s: length of the clip in seconds; None for all that follows.
        pad: how a clip shorter than `count` ticks is filled up: `loop` repeats it, `hold` repeats its last frame.

    Raises:
        ClipError: too_short when the clip starts after the last frame.
    """
    base = frames.time_base
    start = frames.pts[0] * base + Fraction(lead_in_s)
    end = frames.end * base
    if duration_s is not None:
        end = min(end, start + Fraction(duration_s))
    chosen = []
    for tick in range(count):
        instant = start + Fraction(tick, fps)
        if instant >= end - _TOLERANCE:
            break
        chosen.append(max(0, bisect.bisect_right(frames.pts, (instant + _TOLERANCE) / base) - 1))
    if not chosen:
        raise ClipError(Failure.TOO_SHORT, f"the video ends before the clip starts, at {float(lead_in_s):.2f} s")
    first, after_last = chosen[0], bisect.bisect_left(frames.pts, end / base)
    seconds = float(end - max(start, frames.pts[first] * base))
    padding = (tick % len(chosen) if pad == "loop" else len(chosen) - 1 for tick in range(len(chosen), count))
    indices = [*chosen, *(chosen[tick] for tick in padding)]
    return Timeline(
        pts=[frames.pts[index] for index in indices],
        valid_frames=len(chosen),
        source_frames=after_last - first,
        avg_fps=round((after_last - first) / seconds, 3) if seconds > 0 else 0.0,
    )
