"""The timeline: for each tick, the timestamp of the frame that a viewer would see at that instant.

Frame rates in containers lie; timestamps do not. Tick k shows the frame with the largest presentation timestamp not
after `start + k / fps`; frames repeat where the source is slower than the ticks.
"""

import bisect
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pipeline.records.failures import ClipError, Failure
from pipeline.video.frames import Frames

# Seconds given as floats and containers that round to a microsecond must not push a frame behind its own tick.
_SLACK = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class Timeline:
    """One presentation timestamp per tick; the first `valid` show the clip, the rest is padding."""

    pts: list[int]
    valid: int
    source_frames: int
    avg_fps: float


def make_timeline(
    frames: Frames, *, lead_in_s: float, duration_s: float | None, fps: int, count: int, pad: Literal["loop", "hold"]
) -> Timeline:
    """Choose the frame on screen at each of `count` ticks.

    Args:
        lead_in_s: seconds from the first frame to the wanted start.
        duration_s: length of the clip; None for all there is.
        pad: what follows a clip that is shorter than `count` ticks: itself again, or its last frame.

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
        if instant >= end - _SLACK:
            break
        chosen.append(max(0, bisect.bisect_right(frames.pts, (instant + _SLACK) / base) - 1))
    if not chosen:
        raise ClipError(Failure.TOO_SHORT, f"the video ends before the clip starts, at {float(lead_in_s):.2f} s")
    first, last = chosen[0], bisect.bisect_left(frames.pts, end / base)
    seconds = float(end - max(start, frames.pts[first] * base))
    padding = (tick % len(chosen) if pad == "loop" else len(chosen) - 1 for tick in range(len(chosen), count))
    indices = [*chosen, *(chosen[tick] for tick in padding)]
    return Timeline(
        pts=[frames.pts[index] for index in indices],
        valid=len(chosen),
        source_frames=last - first,
        avg_fps=round((last - first) / seconds, 3) if seconds > 0 else 0.0,
    )
