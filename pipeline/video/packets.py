"""What a container says of its frames without decoding them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.video.container import demux

# What the times of frames are read from:
#   presentation  every packet says when its frame is shown
#   order         packets are stamped in decoding order only: the n-th frame shown gets the n-th stamp (AVI, MXF)
#   rate          no stamps at all: the n-th frame is shown at n / nominal rate (elementary streams)
Clock = Literal["presentation", "order", "rate"]

# Codecs of which every packet is one frame shown. Of any other, frames are counted by decoding them.
_ONE_FRAME_A_PACKET = frozenset(
    {
        "h264",
        "hevc",
        "av1",
        "vp8",
        "vp9",
        "mpeg1video",
        "mpeg2video",
        "h263",
        "flv1",
        "wmv1",
        "wmv2",
        "theora",
        "dvvideo",
    }
    | {"mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "rawvideo", "png", "apng", "gif"}
)


@dataclass
class PacketTimes:
    """Timestamps of the packets of one stream, in decoding order and in units of `time_base`."""

    codec: str
    in_avi: bool
    time_base: Fraction
    reorders: bool = False  # the decoder hands frames out later than it takes their packets in
    interlaced: bool = False
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    keyframes: list[bool] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)  # players do not show the frame: an edit list or the codec says so

    @property
    def clock(self) -> Clock:
        """Where the times of decoded frames come from."""
        if all(pts is None for pts in self.pts):
            return "rate" if all(dts is None for dts in self.dts) else "order"
        # A stream that reorders its frames and shows each the moment it is decoded has no presentation times.
        as_decoded = self.in_avi or (self.reorders and self.pts == self.dts)
        return "order" if as_decoded else "presentation"

    @property
    def trustworthy(self) -> bool:
        """Whether the packets alone tell which frames will come out of the decoder, and when."""
        known = [pts for pts in self.pts if pts is not None]
        complete = bool(known) and len(known) == len(self.pts) == len(set(known))
        decoded = [dts for dts in self.dts if dts is not None]
        never_back = all(before < after for before, after in pairwise(decoded))
        # Of interlaced video a packet may hold one of a frame's two fields.
        one_each = self.codec in _ONE_FRAME_A_PACKET and not self.interlaced
        return complete and never_back and one_each and self.keyframes[0] and self.clock == "presentation"


def read_packets(
    container: InputContainer, stream: VideoStream, until: Fraction | None = None, *, look: bool = True
) -> tuple[PacketTimes, VideoFrame | None]:
    """Demux a freshly opened `stream`.

    Args:
        until: stop a second of video after this time (seconds); decoding order may run behind display order.
        look: also decode the first frame, which tells whether the video is interlaced and how it is turned.
    """
    context = stream.codec_context
    in_avi = container.format.name == "avi"
    times = PacketTimes(context.codec.canonical_name, in_avi, Fraction(stream.time_base or Fraction(1, 90000)))
    limit = None if until is None else (until + 1) / times.time_base
    first: VideoFrame | None = None
    for packet in demux(container, stream):
        if look and first is None:
            first = next(_try_decode(packet), None)
        if packet.size == 0:
            continue
        times.pts.append(packet.pts)
        times.dts.append(packet.dts)
        times.durations.append(packet.duration or 0)
        times.keyframes.append(packet.is_keyframe)
        times.hidden.append(packet.is_discard or (times.codec == "vp8" and not _vp8_shows(packet)))
        if limit is not None and packet.dts is not None and packet.dts > limit:
            break
    times.reorders = bool(context.has_b_frames)
    times.interlaced = context.field_order > 1 or (first is not None and first.interlaced_frame)
    return times, first


def _try_decode(packet: Packet) -> Iterator[VideoFrame]:
    try:
        yield from packet.decode()
    except av.FFmpegError:
        return


def _vp8_shows(packet: Packet) -> bool:
    """RFC 6386, 9.1: `show_frame` is bit 4; an alternate reference frame is only referred to."""
    return bool(memoryview(packet)[0] & 0x10)
