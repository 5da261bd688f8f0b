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

    Packets that cannot be decoded are skipped. Of frames at the same time the last one is shown. Where timestamps jump
    back, frames before the last one yielded are dropped, as players do.

    Args:
        clock: where the times of frames come from.
        wanted: times of the frames to decode; the decoder may skip frames at other times if no frame refers to them.
            Decoded frames are the same as without it. Needs presentation timestamps; None decodes everything.

    Raises:
        ClipError: decode_error when the video is encrypted.
    """
    shown: tuple[int, VideoFrame] | None = None
    for time, frame in _decode_all(container, stream, clock, wanted):
        if time is None or (shown is not None and time < shown[0]):
            continue
        if shown is not None and time > shown[0]:
            yield shown
        shown = time, frame
    if shown is not None:
        yield shown


def _decode_all(
    container: InputContainer, stream: VideoStream, clock: Clock, wanted: Collection[int] | None
) -> Iterator[tuple[int | None, VideoFrame]]:
    """Every frame that the decoder outputs, with its time by `clock`; None if it has none."""
    frame_duration = _nominal_frame_duration(stream)
    timestamps: deque[int | None] = deque()  # DTS of packets whose frames are still to come
    best_time = BestTime()
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
        except av.PermissionError:  # encrypted
            raise
        except av.FFmpegError:
            if timestamps:
                timestamps.pop()  # no frame will come out of this packet
            continue
        for frame in frames:
            if clock == "presentation":
                yield best_time(frame.pts, frame.dts), frame
            elif clock == "order":
                yield timestamps.popleft() if timestamps else None, frame
            else:
                yield round(count * frame_duration), frame
            count += 1


class BestTime:
    """Chooses a frame's time from the PTS and the DTS of its packet: from the one that has jumped back less often.

    Some containers have a PTS for a part of the frames only, or one that is copied from a neighbour.
    """

    def __init__(self) -> None:
        self._faults = {"pts": 0, "dts": 0}
        self._last: dict[str, int] = {}

    def __call__(self, pts: int | None, dts: int | None) -> int | None:
        """The time of the next frame in display order."""
        self._count("dts", dts, pts)
        self._count("pts", pts, dts)
        if pts is not None and (dts is None or self._faults["pts"] <= self._faults["dts"]):
            return pts
        return dts

    def _count(self, kind: str, time: int | None, other: int | None) -> None:
        if time is not None:
            self._faults[kind] += kind in self._last and time <= self._last[kind]
            self._last[kind] = time
        elif other is not None:
            self._last[kind] = other


def _nominal_frame_duration(stream: VideoStream) -> Fraction:
    """Duration of one frame at the nominal frame rate, in units of the time base.

    The rate in the stream's own headers comes first: for a stream without a container, the others are a default.
    """
    rate = stream.codec_context.framerate or stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
    return 1 / (Fraction(rate) * Fraction(stream.time_base or 1))
