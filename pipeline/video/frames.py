"""The frames that a viewer of a file sees, and when: from its packets where those can be trusted, else by a decode."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.records.failures import ClipError, Failure
from pipeline.video.container import open_video
from pipeline.video.decode import timed_frames
from pipeline.video.packets import Clock, PacketTimes, read_packets


@dataclass(frozen=True)
class Facts:
    """What a file says of itself."""

    container: str
    codec: str
    width: int  # pixels, before rotation
    height: int
    rotation: int  # degrees, anticlockwise


@dataclass(frozen=True)
class Frames:
    """The frames of one stream: presentation timestamps ascending, and the end of the last, in `time_base` units."""

    pts: Sequence[int]
    end: int
    time_base: Fraction
    origin: Literal["packets", "frames"]
    clock: Clock
    facts: Facts

    @property
    def length(self) -> Fraction:
        """Seconds from the first frame to the end of the last."""
        return (self.end - self.pts[0]) * self.time_base


def shown_frames(path: str | Path, until_s: Fraction | None = None, *, believe: bool = False) -> Frames:
    """The frames of a file, at least those of its first `until_s` seconds.

    Args:
        believe: decode nothing; where packets cannot be trusted the list may hold frames that will not come out, and
            no rotation is known.

    Raises:
        ClipError: decode_error when no frame carries a time; else as `open_video`.
    """
    with open_video(path) as (container, stream):
        until = None if until_s is None else until_s + (stream.start_time or 0) * Fraction(stream.time_base or 0)
        packets, first = read_packets(container, stream, until, look=not believe)
        facts = _facts(container.format.name, stream, first)
    if packets.trustworthy or (believe and packets.clock != "rate"):
        return _from_packets(packets, facts)
    return _from_decode(path, packets, facts, until_s)


def _facts(container: str, stream: VideoStream, first: VideoFrame | None) -> Facts:
    context = stream.codec_context
    rotation = first.rotation if first is not None else 0
    return Facts(container, context.codec.canonical_name, context.width, context.height, rotation)


def _from_packets(packets: PacketTimes, facts: Facts) -> Frames:
    stamps = packets.pts if packets.clock == "presentation" else packets.dts
    first = next(stamp for stamp in stamps if stamp is not None)
    # Frames that precede the first keyframe in display order refer to a picture that is not in the file.
    shown = sorted(
        (stamp, duration)
        for stamp, duration, hidden in zip(stamps, packets.durations, packets.hidden, strict=True)
        if stamp is not None and stamp >= first and not hidden
    )
    if not shown:
        raise ClipError(Failure.DECODE_ERROR, "the container hides every frame from players")
    times = [stamp for stamp, _ in shown]
    end = times[-1] + (shown[-1][1] or _usual_step(times))
    return Frames(times, end, packets.time_base, "packets", packets.clock, facts)


def _from_decode(path: str | Path, packets: PacketTimes, facts: Facts, until_s: Fraction | None) -> Frames:
    times: list[int] = []
    last_duration = 0
    with open_video(path) as (container, stream):
        # Times do not depend on what the pictures show: the costly last steps of decoding are left out.
        stream.codec_context.options = {
            **stream.codec_context.options,
            "skip_idct": "all",
            "skip_loop_filter": "all",
            "lowres": "3",
        }
        for time, frame in timed_frames(container, stream, packets.clock):
            if frame.is_corrupt and not times:
                continue  # what it refers to lies before the file's beginning
            times.append(time)
            last_duration = frame.duration or 0
            if until_s is not None and (time - times[0]) * packets.time_base > until_s:
                break
    if not times:
        raise ClipError(Failure.DECODE_ERROR, "no frame could be decoded, or none carries a time")
    end = times[-1] + (last_duration or _usual_step(times))
    return Frames(times, end, packets.time_base, "frames", packets.clock, facts)


def _usual_step(times: Sequence[int]) -> int:
    """Median distance of frames: the best guess for how long the last one stays on screen."""
    steps = sorted(after - before for before, after in pairwise(times))
    return steps[len(steps) // 2] if steps else 1
