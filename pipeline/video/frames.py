"""Presentation times of a file's frames: from its packets where these are reliable, else by decoding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.records.failures import ClipError, Failure
from pipeline.video.container import open_video
from pipeline.video.decode import timed_frames
from pipeline.video.orientation import rotation_of
from pipeline.video.packets import Clock, StreamPackets, read_packets

# Decoders of these codecs skip the last steps of decoding without a change to which frames they output, and when.
# Others show frames of another size, fail, or silently stop.
_COARSE_CODECS = frozenset(
    {
        *("mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3", "h263", "flv1", "wmv1", "wmv2", "mjpeg"),
        *("h264", "hevc"),
    }
)
_COARSE = {"skip_idct": "all", "skip_loop_filter": "all", "lowres": "3"}

# Codecs whose decoders show frames before the first keyframe, if the file starts with them.
_LEADING_FRAMES_SHOWN = frozenset({"vvc"})


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


def read_frame_times(
    path: str | Path, until_s: Fraction | None = None, *, margin_s: int = 0, trust_packets: bool = False
) -> FrameTimes:
    """Times of a file's frames, at least of those in the first `until_s` seconds.

    Args:
        until_s: seconds after the first frame; None reads the whole file. If it breaks off, one second is added to the
            end of the frames before that place.
        margin_s: seconds after `until_s` to read too, as far as the file has them.
        trust_packets: decode nothing if packets have any timestamps, reliable or not. The result may then list frames
            that cannot be decoded, and `rotation` is 0.

    Raises:
        ClipError: decode_error when no frame has a time, or the file breaks off before `until_s`; too_large when it has
            too many frames; no_video_stream when it is a still image; else as `open_video`.
    """
    with open_video(path) as (container, stream):
        last_s = None if until_s is None else until_s + margin_s
        start_s = (stream.start_time or 0) * Fraction(stream.time_base or 0)
        last = None if last_s is None else last_s + start_s
        packets, first_frame = read_packets(container, stream, last, decode_first=not trust_packets)
        metadata = _metadata(container.format.name, stream, first_frame)
        if len(packets.packets) == 1 and metadata.container.endswith("_pipe"):
            kind = "an image" if metadata.codec == "webp" else "a still image"  # FFmpeg 8 reads no animated WebP
            raise ClipError(Failure.NO_VIDEO_STREAM, f"the file is {kind} ({metadata.codec})")
    if packets.broken_off is not None and not packets.packets:
        raise packets.broken_off
    if packets.reliable or (trust_packets and packets.clock != "rate"):
        frames = _from_packets(packets, metadata)
    else:
        frames = _from_decoding(path, packets, metadata, last_s)
    if packets.broken_off is None:
        return frames
    if until_s is None:  # the file was longer, by an unknown time
        return replace(frames, end=frames.end + round(1 / frames.time_base))
    if frames.duration < until_s:
        raise packets.broken_off
    return frames


def _metadata(container: str, stream: VideoStream, first_frame: VideoFrame | None) -> StreamMetadata:
    context = stream.codec_context
    rotation = rotation_of(first_frame) if first_frame is not None else 0
    return StreamMetadata(container, context.codec.canonical_name, context.width, context.height, rotation)


def _from_packets(packets: StreamPackets, metadata: StreamMetadata) -> FrameTimes:
    by_pts = packets.clock == "presentation"
    stamped = [(packet.pts if by_pts and packet.pts is not None else packet.dts, packet) for packet in packets.packets]
    first = next(time for time, _ in stamped if time is not None)
    if packets.codec in _LEADING_FRAMES_SHOWN:
        first = min(time for time, _ in stamped if time is not None)
    # Of other codecs, frames shown before the first keyframe refer to a frame that is not in the file.
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
        if metadata.codec in _COARSE_CODECS:
            stream.codec_context.options = {**stream.codec_context.options, **_COARSE}
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
