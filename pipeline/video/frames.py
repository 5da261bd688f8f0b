"""Presentation times of a file's frames: from its packets where these are reliable, else by decoding."""

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
from pipeline.video.packets import Clock, StreamPackets, read_packets


@dataclass(frozen=True)
class StreamMetadata:
    """Format and shape of a video stream, by its headers."""

    container: str  # FFmpeg's name of the container format
    codec: str  # FFmpeg's name of the codec
    width: int  # pixels, before rotation
    height: int
    rotation: int  # degrees counter-clockwise by which players turn the frame; 0 if no frame was decoded


@dataclass(frozen=True)
class FrameTimes:
    """Presentation times of a stream's frames."""

    pts: Sequence[int]  # ascending, in units of time_base
    end: int  # end of the last frame, in units of time_base
    time_base: Fraction  # seconds
    timeline_from: Literal["packets", "frames"]  # read from packets, or from decoded frames
    clock: Clock
    metadata: StreamMetadata

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame to the end of the last."""
        return (self.end - self.pts[0]) * self.time_base


def read_frame_times(path: str | Path, until_s: Fraction | None = None, *, trust_packets: bool = False) -> FrameTimes:
    """Times of a file's frames, at least of those in the first `until_s` seconds.

    Args:
        until_s: seconds after the first frame; None reads the whole file.
        trust_packets: decode nothing if packets have any timestamps, reliable or not. The result may then list frames
            that cannot be decoded, and `rotation` is 0.

    Raises:
        ClipError: decode_error when no frame has a time; else as `open_video`.
    """
    with open_video(path) as (container, stream):
        until = None if until_s is None else until_s + (stream.start_time or 0) * Fraction(stream.time_base or 0)
        packets, first_frame = read_packets(container, stream, until, decode_first=not trust_packets)
        metadata = _metadata(container.format.name, stream, first_frame)
    if packets.reliable or (trust_packets and packets.clock != "rate"):
        return _from_packets(packets, metadata)
    return _from_decoding(path, packets, metadata, until_s)


def _metadata(container: str, stream: VideoStream, first_frame: VideoFrame | None) -> StreamMetadata:
    context = stream.codec_context
    rotation = first_frame.rotation if first_frame is not None else 0
    return StreamMetadata(container, context.codec.canonical_name, context.width, context.height, rotation)


def _from_packets(packets: StreamPackets, metadata: StreamMetadata) -> FrameTimes:
    by_pts = packets.clock == "presentation"
    stamped = [(packet.pts if by_pts else packet.dts, packet) for packet in packets.packets]
    first = next(time for time, _ in stamped if time is not None)
    # Frames shown before the first keyframe refer to a frame that is not in the file.
    shown = sorted(
        (time, packet.duration)
        for time, packet in stamped
        if time is not None and time >= first and not packet.is_hidden
    )
    if not shown:
        raise ClipError(Failure.DECODE_ERROR, "the container marks every frame as not to be shown")
    times = [time for time, _ in shown]
    end = times[-1] + (shown[-1][1] or _median_step(times))
    return FrameTimes(times, end, packets.time_base, "packets", packets.clock, metadata)


def _from_decoding(
    path: str | Path, packets: StreamPackets, metadata: StreamMetadata, until_s: Fraction | None
) -> FrameTimes:
    times: list[int] = []
    last_duration = 0
    with open_video(path) as (container, stream):
        # Times do not depend on pixel values, so the costly last steps of decoding are left out.
        stream.codec_context.options = {
            **stream.codec_context.options,
            "skip_idct": "all",
            "skip_loop_filter": "all",
            "lowres": "3",
        }
        for time, frame in timed_frames(container, stream, packets.clock):
            if frame.is_corrupt and not times:
                continue  # refers to a frame before the start of the file
            times.append(time)
            last_duration = frame.duration or 0
            if until_s is not None and (time - times[0]) * packets.time_base > until_s:
                break
    if not times:
        raise ClipError(Failure.DECODE_ERROR, "no frame can be decoded, or no frame has a time")
    end = times[-1] + (last_duration or _median_step(times))
    return FrameTimes(times, end, packets.time_base, "frames", packets.clock, metadata)


def _median_step(times: Sequence[int]) -> int:
    """Median interval between frames, the estimate of how long the last one is shown."""
    steps = sorted(after - before for before, after in pairwise(times))
    return steps[len(steps) // 2] if steps else 1
