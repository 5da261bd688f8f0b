"""The timeline: for each tick, the timestamp of the frame that a viewer would see at that instant.

Frame rates in containers lie; timestamps do not. Tick k shows the frame with the largest presentation timestamp not
after `start + k / fps`; frames repeat where the source is slower than the ticks.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.failures import ClipError, Failure
from pipeline.video.clock import timed_frames
from pipeline.video.packets import PacketTimes, read_packets

# Seconds given as floats and containers that round to a microsecond must not push a frame behind its own tick.
_SLACK = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class Frames:
    """The frames a viewer sees: presentation timestamps ascending, and the end of the last, in `time_base` units."""

    pts: Sequence[int]
    end: int
    time_base: Fraction
    origin: Literal["packets", "frames"]


@dataclass(frozen=True)
class Timeline:
    """One presentation timestamp per tick; the first `valid` show the clip, the rest is padding."""

    pts: list[int]
    valid: int
    source_frames: int
    avg_fps: float


def shown_frames(container: InputContainer, stream: VideoStream, until: Fraction | None = None) -> Frames:
    """The frames of a freshly opened stream: from its packets where those can be trusted, else by a decode.

    Raises:
        ClipError: decode_error when no frame carries a time.
    """
    packets = read_packets(container, stream, until)
    if packets.trustworthy:
        return _from_packets(packets)
    try:
        container.seek(0)
    except av.FFmpegError:  # an elementary stream
        raise ClipError(Failure.DECODE_ERROR, "the file carries no usable timestamps and cannot be rewound") from None
    return _from_decode(container, stream)


def _from_packets(packets: PacketTimes) -> Frames:
    known = [pts for pts in packets.pts if pts is not None]
    # Frames that precede the first keyframe in display order refer to a picture that is not in the file.
    shown = [
        (pts, duration)
        for pts, duration, hidden in zip(known, packets.durations, packets.hidden, strict=True)
        if not hidden and pts >= known[0]
    ]
    if not shown:
        raise ClipError(Failure.DECODE_ERROR, "the container hides every frame from players")
    shown.sort()
    times = [pts for pts, _ in shown]
    return Frames(times, times[-1] + (shown[-1][1] or _usual_step(times)), packets.time_base, "packets")


def _from_decode(container: InputContainer, stream: VideoStream) -> Frames:
    time_base = Fraction(stream.time_base or Fraction(1, 90000))
    times: list[int] = []
    last_duration = 0
    for pts, frame in timed_frames(container, stream):
        # A clock that jumps back cannot be shown; a player drops such frames, and so does this.
        if pts is not None and (not times or pts > times[-1]):
            times.append(pts)
            last_duration = frame.duration or 0
    if not times:
        raise ClipError(Failure.DECODE_ERROR, "no frame could be decoded, or none carries a time")
    return Frames(times, times[-1] + (last_duration or _usual_step(times)), time_base, "frames")


def _usual_step(times: Sequence[int]) -> int:
    """Median distance of frames: the best guess for how long the last one stays on screen."""
    steps = sorted(after - before for before, after in pairwise(times))
    return steps[len(steps) // 2] if steps else 1


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
