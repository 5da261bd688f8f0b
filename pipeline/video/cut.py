"""Cut a window out of a video by stream copy, without decoding or loss.

A copy has to start at a keyframe, so it usually starts before the window; `lead_in_s` is the time between the two.
"""

import bisect
import errno
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import ffmpeg
from av.packet import Packet
from av.video.stream import VideoStream

from common.files import replacing
from pipeline.records.failures import ClipError, Failure
from pipeline.video.container import demux, open_video
from pipeline.video.frames import FrameTimes, read_frame_times

_MILLISECOND = Fraction(1, 1000)  # time unit of Matroska, the coarsest of the usual containers
_RANDOM_IDS = frozenset({".mkv", ".mk3d", ".webm", ".ogg", ".ogv", ".ogm", ".ogx", ".mxf"})  # or the time of writing


@dataclass(frozen=True)
class Cut:
    """A window of a video file."""

    path: Path
    lead_in_s: float  # seconds from the file's first frame to the start of the window
    duration_s: float  # seconds


@cache
def ffmpeg_binary() -> str:
    """The system's ffmpeg; without one, the binary of imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def cut(source: Path, target: Path, start_s: float, end_s: float, margin_s: float) -> Cut:
    """Copy the packets of a window of `source` to `target`.

    The copy is checked to show the same frames at the same times as the source. If `target`'s container cannot hold
    the codec, the copy is a Matroska file of the same name. If no copy passes the check, for example because the
    stream has no timestamps, the result refers to the window inside `source` itself.

    Args:
        start_s: start of the window, seconds after the first frame.
        end_s: end of the window, seconds after the first frame; limited to the end of the video.
        margin_s: seconds to copy beyond the end of the window.

    Raises:
        ClipError: too_short when the window starts after the end of the video; else as `open_video`.
        OSError: the disk is full.
    """
    frames = read_frame_times(source, until_s=Fraction(end_s), margin_s=1, trust_packets=True)
    if Fraction(start_s) >= frames.duration:
        raise ClipError(
            Failure.TOO_SHORT, f"the video is {float(frames.duration):.2f} s long, the clip starts at {start_s:.2f} s"
        )
    start = frames.pts[0] * frames.time_base + Fraction(start_s)
    duration = min(Fraction(end_s), frames.duration) - Fraction(start_s)
    if frames.clock != "rate":
        window = _Window(source, frames, _packet_times(source, start / frames.time_base), start, duration)
        for path in dict.fromkeys((target, target.with_suffix(".mkv"))):
            lead_in = _copy_window(window, path, margin_s)
            if lead_in is not None:
                return Cut(path, float(lead_in), float(duration))
            path.unlink(missing_ok=True)
    return Cut(source, start_s, float(duration))


@dataclass(frozen=True)
class _Window:
    """Part of a source video, with what copies of it are checked against."""

    source: Path
    frames: FrameTimes
    packet_times: Mapping[bytes, int]  # up to the start, by digest; in units of the time base
    start: Fraction  # seconds by the source's timestamps
    duration: Fraction  # seconds

    def find_lead_in(self, copy: Path) -> Fraction | None:
        """Seconds from the start of `copy` to the start of the window; None if the copy starts later.

        The copy's start in the source is found by the content of its first packet, not computed from the seek time.
        """
        with open_video(copy) as (container, stream):
            first = next((_digest(packet) for packet in demux(container, stream) if packet.size), None)
        time = None if first is None else self.packet_times.get(first)
        return None if time is None else self.start - time * self.frames.time_base

    def is_shown_by(self, copy: Path, lead_in: Fraction) -> bool:
        """Whether `copy` has the window's frames, all of them and no others, at the same times."""
        copied = read_frame_times(copy, trust_packets=True)
        expected = _times_on_screen(self.frames, self.start, self.duration)
        actual = _times_on_screen(copied, copied.pts[0] * copied.time_base + lead_in, self.duration)
        unit = max(self.frames.time_base, copied.time_base, _MILLISECOND)
        return len(expected) == len(actual) and all(abs(a - b) <= unit for a, b in zip(expected, actual, strict=True))


def _times_on_screen(frames: FrameTimes, start: Fraction, duration: Fraction) -> list[Fraction]:
    """Times, in seconds after `start`, of the frames on screen from then on for `duration`."""
    times = [pts * frames.time_base - start for pts in frames.pts]
    first = max(0, bisect.bisect_right(times, _MILLISECOND) - 1)
    return times[first : bisect.bisect_left(times, duration - _MILLISECOND)]


def _packet_times(source: Path, until: Fraction) -> dict[bytes, int]:
    """Time of each packet up to `until`, in units of the time base, by digest; of equal packets, the last one's."""
    times: dict[bytes, int] = {}
    with open_video(source) as (container, stream):
        for packet in demux(container, stream):
            if packet.dts is not None and packet.dts > until:
                break
            time = packet.pts if packet.pts is not None else packet.dts
            if packet.size and time is not None and time <= until:
                times[_digest(packet)] = time
    return times


def _digest(packet: "Packet[VideoStream]") -> bytes:
    return hashlib.blake2b(packet, digest_size=16).digest()


def _copy_window(window: _Window, target: Path, margin_s: float) -> Fraction | None:
    """Copy the window and return the lead-in in seconds; None if the copy does not show the window's frames.

    Where the copy starts too late or ends too early, it is made again with more slack: ffmpeg seeks by an index in
    decoding order, which with B-frames may be just after the wanted time or end a frame early.
    """
    for slack_s in (0, 1, 5, 30):
        start, duration = float(window.start) - slack_s, float(window.duration) + margin_s + 2 * slack_s
        try:
            _copy(window.source, target, start, duration)
            lead_in = window.find_lead_in(target)
            if lead_in is not None and window.is_shown_by(target, lead_in):
                return lead_in
        except ClipError:  # the copy cannot be read
            continue
        except ffmpeg.Error as error:
            if b"No space left on device" in (error.stderr or b""):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from None
            return None
    return None


def _copy(source: Path, target: Path, start: float, duration: float) -> None:
    # Seek by the stream's timestamps, and start the output at zero, or an edit list would hide the lead-in.
    job = ffmpeg.input(f"file:{source}", ss=f"{start:.6f}", seek_timestamp=1)
    with replacing(target) as temporary:
        options = {"c": "copy", "t": f"{duration:.6f}", "avoid_negative_ts": "make_zero", "map_metadata": -1}
        if target.suffix in _RANDOM_IDS:
            options["fflags"] = (
                "+bitexact"  # else no two copies are equal; copies in other containers are equal without it
            )
        job["V:0"].output(str(temporary), **options).run(cmd=ffmpeg_binary(), quiet=True, overwrite_output=True)
