"""Frame times and flags that a container stores with its packets, read without decoding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.records.failures import ClipError, Failure
from pipeline.video.container import BrokenOffError, demux_strictly

# Where the times of decoded frames come from:
#   presentation  each packet has a presentation timestamp (PTS), or a DTS that is one
#   order         packets have timestamps in decoding order only: the n-th frame shown gets the n-th one (AVI, MXF)
#   rate          no timestamps: the n-th frame is shown at n / nominal frame rate (elementary streams)
Clock = Literal["presentation", "order", "rate"]

# Streams that have DTS only, for which FFmpeg sets PTS in the order of decoding.
_WITHOUT_PTS = frozenset({("asf", "h264"), ("asf", "hevc")})

# Elementary streams for which FFmpeg sets wrong timestamps: in MPEG-1 every frame but the first is one frame late; in
# Dirac times are frame numbers. By container format and codec.
_WITHOUT_TIMES = frozenset({("mpegvideo", "mpeg1video"), ("dirac", "dirac")})

# Codecs in which each packet holds exactly one frame. Frames of other codecs are counted by decoding.
_ONE_FRAME_PER_PACKET = frozenset(
    {
        *("h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "h263", "flv1", "wmv1", "wmv2", "theora"),
        *("dvvideo", "mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "rawvideo", "png", "apng", "gif"),
    }
)


_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's name of the container format

# A header may claim any frame rate and length. These bounds are above real files: 3 million frames are a day at 30 frames
# per second, and take 0.5 GB of memory.
_MAX_PACKETS, _MAX_PACKETS_PER_S, _SPARE_PACKETS = 3_000_000, 1000, 100_000


class PacketInfo(NamedTuple):
    """Timestamps, in units of the stream's time base, and flags of one packet."""

    pts: int | None
    dts: int | None
    duration: int  # 0 if unknown
    is_keyframe: bool
    is_hidden: bool  # players do not show the frame: an edit list or the codec excludes it


@dataclass(frozen=True)
class StreamPackets:
    """The packets of one video stream in decoding order."""

    packets: Sequence[PacketInfo]
    container: str  # FFmpeg's name of the container format
    codec: str
    time_base: Fraction  # seconds per unit of the timestamps
    may_reorder: bool  # the codec has frames that are shown in another order than their packets
    reorders: bool  # this stream has such frames
    interlaced: bool
    broken_off: BrokenOffError | None = None  # the file cannot be read on after these packets

    @property
    def clock(self) -> Clock:
        """Where the times of decoded frames come from."""
        if (self.container, self.codec) in _WITHOUT_TIMES:
            return "rate"
        no_pts = all(packet.pts is None for packet in self.packets)
        if no_pts and all(packet.dts is None for packet in self.packets):
            return "rate"
        if not self.may_reorder:
            return "presentation"
        # PTS that equal DTS in a stream with reordered frames are copies of the DTS.
        copied = self.reorders and all(packet.pts == packet.dts for packet in self.packets)
        without_pts = self.container == "avi" or (self.container, self.codec) in _WITHOUT_PTS
        return "order" if no_pts or copied or without_pts else "presentation"

    @property
    def reliable(self) -> bool:
        """Whether the packets alone determine which frames the decoder outputs, and when each is shown."""
        pts = [packet.pts for packet in self.packets if packet.pts is not None]
        complete = bool(pts) and len(pts) == len(self.packets) == len(set(pts))
        dts = [packet.dts for packet in self.packets if packet.dts is not None]
        increasing = all(before < after for before, after in pairwise(dts))
        # A packet of interlaced video may hold one of a frame's two fields; in AVI, a packet may repeat the last frame.
        one_frame_each = self.codec in _ONE_FRAME_PER_PACKET and not self.interlaced and self.container != "avi"
        starts_with_keyframe = bool(self.packets) and self.packets[0].is_keyframe
        return complete and increasing and one_frame_each and starts_with_keyframe and self.clock == "presentation"


def read_packets(
    container: InputContainer, stream: VideoStream, until_s: Fraction | None = None, *, decode_first: bool = True
) -> tuple[StreamPackets, VideoFrame | None]:
    """Demux a freshly opened stream; return its packets and the first decoded frame, if any.

    Args:
        until_s: stop one second after this timestamp (seconds), as decoding order may lag behind display order;
            None reads to the end.
        decode_first: decode the first frame, which shows whether the video is interlaced or rotated.
    """
    context = stream.codec_context
    codec = context.codec.canonical_name
    time_base = Fraction(stream.time_base or Fraction(1, 90000))
    last_dts = None if until_s is None else (until_s + 1) / time_base
    packets: list[PacketInfo] = []
    first_frame: VideoFrame | None = None
    broken_off: BrokenOffError | None = None
    incomplete = False  # the last packet is
    limit = _MAX_PACKETS
    if until_s is not None:
        limit = min(limit, round(_SPARE_PACKETS + until_s * _MAX_PACKETS_PER_S))
    try:
        for packet in demux_strictly(container, stream):
            if decode_first and first_frame is None:
                first_frame = next(_decode_leniently(packet), None)
            if packet.size == 0:
                continue
            hidden = packet.is_discard or (codec == "vp8" and not _vp8_shows_frame(packet))
            incomplete = packet.is_corrupt
            packets.append(PacketInfo(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, hidden))
            if last_dts is not None and packet.dts is not None and packet.dts > last_dts:
                break
            if len(packets) == limit:
                if packet.dts is None:  # such a stream is timed by decoding
                    break
                raise ClipError(Failure.TOO_LARGE, f"more than {limit:,} frames{_window_text(until_s)}")
        else:
            if _is_cut_short(container, stream):
                if incomplete:
                    packets.pop()
                raise BrokenOffError(_seconds(packets, time_base), "its index names frames beyond its end")
    except BrokenOffError as error:
        broken_off = error
    found = StreamPackets(
        packets,
        container.format.name,
        codec,
        time_base=time_base,
        may_reorder=context.codec.reorder,
        reorders=bool(context.has_b_frames),
        interlaced=context.field_order > 1 or (first_frame is not None and first_frame.interlaced_frame),
        broken_off=broken_off,
    )
    return found, first_frame


def _seconds(packets: Sequence[PacketInfo], time_base: Fraction) -> float:
    """Seconds from the first packet to the end of the last one, in decoding order."""
    times = [(packet.dts, packet.duration) for packet in packets if packet.dts is not None]
    return float((sum(times[-1]) - times[0][0]) * time_base) if times else 0.0


def _is_cut_short(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the index of an mp4 or mov file has frames that lie beyond the end of the file, where FFmpeg just stops."""
    if container.format.name != _MP4 or len(stream.index_entries) == 0:
        return False
    last = stream.index_entries[-1]
    return last.pos + last.size > container.size


def _window_text(until_s: Fraction | None) -> str:
    return "" if until_s is None else f" in the first {float(until_s):.1f} s"


def _decode_leniently(packet: "Packet[VideoStream]") -> Iterator[VideoFrame]:
    """The packet's frames; none where it cannot be decoded."""
    try:
        yield from packet.decode()
    except av.FFmpegError:
        return


def _vp8_shows_frame(packet: "Packet[VideoStream]") -> bool:
    """RFC 6386, section 9.1: bit 4 of the first byte is `show_frame`; alternate reference frames have 0."""
    return bool(memoryview(packet)[0] & 0x10)
