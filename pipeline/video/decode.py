"""Decode a stream frame by frame, each frame with the time at which it is shown, in units of the stream's time base."""

from collections import deque
from collections.abc import Collection, Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.video.container import demux
from pipeline.video.packets import Clock

_DEFAULT_RATE = 25  # frames per second that FFmpeg assumes for a stream without a nominal rate


def timed_frames(
    container: InputContainer, stream: VideoStream, clock: Clock, wanted: Collection[int] | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode a freshly opened stream; yield `(time, frame)` in display order, times strictly increasing.

    Packets that cannot be decoded are skipped. Where timestamps jump back, frames not later than the last one yielded
    are dropped, as players do.

    Args:
        clock: where the times of frames come from.
        wanted: times of the frames to decode; the decoder may skip frames at other times if no frame refers to them.
            Decoded frames are the same as without it. Needs presentation timestamps; None decodes everything.
    """
    last = None
    for time, frame in _decode_all(container, stream, clock, wanted):
        if time is not None and (last is None or time > last):
            last = time
            yield time, frame


def _decode_all(
    container: InputContainer, stream: VideoStream, clock: Clock, wanted: Collection[int] | None
) -> Iterator[tuple[int | None, VideoFrame]]:
    """Every frame that the decoder outputs, with its time by `clock`; None if it has none."""
    frame_duration = _nominal_frame_duration(stream)
    timestamps: deque[int | None] = deque()  # DTS of packets whose frames are still to come
    count = 0
    skipping = False
    for packet in demux(container, stream):
        needed = wanted is None or packet.pts is None or packet.pts in wanted
        if skipping is needed:
            skipping = not needed
            stream.codec_context.skip_frame = "NONREF" if skipping else "DEFAULT"
        if packet.size:
            timestamps.append(packet.dts)
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            if timestamps:
                timestamps.pop()  # no frame will come out of this packet
            continue
        for frame in frames:
            if clock == "presentation":
                yield frame.pts if frame.pts is not None else frame.dts, frame
            elif clock == "order":
                yield timestamps.popleft() if timestamps else None, frame
            else:
                yield round(count * frame_duration), frame
            count += 1


def _nominal_frame_duration(stream: VideoStream) -> Fraction:
    """Duration of one frame at the nominal frame rate, in units of the time base."""
    rate = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
    return 1 / (Fraction(rate) * Fraction(stream.time_base or 1))
