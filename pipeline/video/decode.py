"""Decoded frames with the time at which each is shown, in the stream's own units."""

from collections import deque
from collections.abc import Collection, Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.video.container import demux
from pipeline.video.packets import Clock

_FFMPEG_RATE = 25  # what FFmpeg takes for a stream that does not tell its rate


def timed_frames(
    container: InputContainer, stream: VideoStream, clock: Clock, wanted: Collection[int] | None = None
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames of a freshly opened stream in display order, each with its time.

    Damage in the middle loses frames, not the clip. Where timestamps jump back, the frames of the time already past
    are left out, as a player leaves them out.

    Args:
        wanted: let the decoder drop frames at other times that no frame refers to. The frames that come out are the
            same as without. Needs packets that carry presentation times.
    """
    now = None
    for time, frame in _stamped(container, stream, clock, wanted):
        if time is not None and (now is None or time > now):
            now = time
            yield time, frame


def _stamped(
    container: InputContainer, stream: VideoStream, clock: Clock, wanted: Collection[int] | None
) -> Iterator[tuple[int | None, VideoFrame]]:
    step = _step(stream)
    stamps: deque[int | None] = deque()
    shown = 0
    skipping = False
    for packet in demux(container, stream):
        needed = wanted is None or packet.pts is None or packet.pts in wanted
        if skipping is needed:
            skipping = not needed
            stream.codec_context.skip_frame = "NONREF" if skipping else "DEFAULT"
        if packet.size:
            stamps.append(packet.dts)
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            if stamps:
                stamps.pop()  # its frame will never come
            continue
        for frame in frames:
            if clock == "presentation":
                yield frame.pts if frame.pts is not None else frame.dts, frame
            elif clock == "order":
                yield stamps.popleft() if stamps else None, frame
            else:
                yield round(shown * step), frame
            shown += 1


def _step(stream: VideoStream) -> Fraction:
    """Time of one frame at the nominal rate, in the stream's units."""
    rate = stream.average_rate or stream.guessed_rate or _FFMPEG_RATE
    return 1 / (Fraction(rate) * Fraction(stream.time_base or 1))
