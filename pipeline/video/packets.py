"""What a container says of its frames without decoding them."""

from dataclasses import dataclass
from fractions import Fraction

from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.video.clock import is_avi


@dataclass(frozen=True)
class PacketTimes:
    """Timestamps of the packets of one stream, in decoding order and in units of `time_base`."""

    pts: list[int | None]
    durations: list[int]
    keyframes: list[bool]
    hidden: list[bool]  # an edit list tells players not to show the frame
    time_base: Fraction
    in_avi: bool

    @property
    def trustworthy(self) -> bool:
        """Whether the packets alone tell which frames will come out of the decoder, and when."""
        known = [pts for pts in self.pts if pts is not None]
        whole = bool(known) and len(known) == len(self.pts) == len(set(known))
        return whole and self.keyframes[0] and not self.in_avi


def read_packets(container: InputContainer, stream: VideoStream, until: Fraction | None = None) -> PacketTimes:
    """Demux `stream` from the present position.

    Args:
        until: stop a second of video after this time (seconds); decoding order may run behind display order.
    """
    time_base = Fraction(stream.time_base or Fraction(1, 90000))
    times = PacketTimes([], [], [], [], time_base, is_avi(container))
    limit = None if until is None else (until + 1) / times.time_base
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        times.pts.append(packet.pts)
        times.durations.append(packet.duration or 0)
        times.keyframes.append(packet.is_keyframe)
        times.hidden.append(packet.is_discard)
        if limit is not None and packet.dts is not None and packet.dts > limit:
            break
    return times
