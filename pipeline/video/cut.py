"""Cut a window out of a video by stream copy: no decode, no loss.

A copy has to start at a keyframe, so it usually starts early; `lead_in_s` says by how much, exact to the packet.
"""

import bisect
import errno
import os
import shutil
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import ffmpeg
from av.container import InputContainer
from av.video.stream import VideoStream

from common.files import replacing
from pipeline.records.failures import ClipError, Failure
from pipeline.video.container import demux, open_video
from pipeline.video.frames import Frames, shown_frames


@cache
def ffmpeg_binary() -> str:
    """The system's ffmpeg, else the one that imageio-ffmpeg ships."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def cut(source: Path, target: Path, start_s: float, end_s: float, margin_s: float) -> tuple[Path, float, float]:
    """Copy the packets of `start_s` to `end_s` (seconds after the first frame) and `margin_s` more into `target`.

    Returns:
        The file to read the clip from, the lead-in in seconds, and the clip's duration in seconds, clamped to what the
        video has. The file is `target`; or the same name as Matroska, where the container cannot hold the codec; or
        `source` itself, where no copy holds the very frames of the window (a stream without timestamps, say).

    Raises:
        ClipError: too_short when the window lies beyond the end; else as `open_video`.
        OSError: the disk is full.
    """
    frames = shown_frames(source, until_s=Fraction(end_s) + 1, believe=True)
    if Fraction(start_s) >= frames.length:
        raise ClipError(
            Failure.TOO_SHORT, f"the video is {float(frames.length):.2f} s long, the clip starts at {start_s:.2f} s"
        )
    duration = min(Fraction(end_s), frames.length) - Fraction(start_s)
    window = _Window(frames, frames.pts[0] * frames.time_base + Fraction(start_s), duration)
    for path in dict.fromkeys((target, target.with_suffix(".mkv"))) if frames.clock != "rate" else ():
        lead_in = _copy_window(source, path, window, margin_s)
        if lead_in is not None:
            return path, float(lead_in), float(duration)
        path.unlink(missing_ok=True)
    return source, start_s, float(duration)


@dataclass(frozen=True)
class _Window:
    """What is wanted of the source: `duration` seconds from `start`, by the stream's own clock."""

    frames: Frames
    start: Fraction
    duration: Fraction

    def is_in(self, copy: Path, lead_in: Fraction) -> bool:
        """Whether the copy shows the window's frames, all of them, no others, each at its time."""
        try:
            copied = shown_frames(copy, believe=True)
        except ClipError:
            return False
        ours = _times(self.frames, self.start, self.duration)
        theirs = _times(copied, copied.pts[0] * copied.time_base + lead_in, self.duration)
        unit = max(self.frames.time_base, copied.time_base, Fraction(1, 1000))
        return len(ours) == len(theirs) and all(abs(a - b) <= unit for a, b in zip(ours, theirs, strict=True))


def _times(frames: Frames, start: Fraction, duration: Fraction) -> list[Fraction]:
    """Seconds after `start` of the frames on screen for `duration`; the first is there already."""
    times = [pts * frames.time_base - start for pts in frames.pts]
    rounding = Fraction(1, 1000)
    first = max(0, bisect.bisect_right(times, rounding) - 1)
    return times[first : bisect.bisect_left(times, duration - rounding)]


def _copy_window(source: Path, target: Path, window: _Window, margin_s: float) -> Fraction | None:
    """Copy until the window is in the copy, beginning earlier and earlier; the lead-in, or None if it never is.

    Seeks land by index, and indexes are in decoding order: with B-frames that may be just after the wanted instant, or
    end a frame early.
    """
    for slack in (0, 1, 5, 30):
        start, duration = float(window.start) - slack, float(window.duration) + margin_s + 2 * slack
        try:
            _copy(source, target, start, duration)
            lead_in = window.start - _source_time(source, target, window.start)
        except ffmpeg.Error as error:
            if b"No space left on device" in (error.stderr or b""):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from None
            return None
        except ClipError:
            continue
        if lead_in >= 0 and window.is_in(target, lead_in):
            return lead_in
    return None


def _copy(source: Path, target: Path, start: float, duration: float) -> None:
    # Seek by the stream's own clock, and start the output at zero: no edit list that would hide the lead-in.
    job = ffmpeg.input(f"file:{source}", ss=f"{start:.6f}", seek_timestamp=1)
    with replacing(target) as temporary:
        options = {"c": "copy", "t": f"{duration:.6f}", "avoid_negative_ts": "make_zero", "map_metadata": -1}
        job["V:0"].output(str(temporary), **options).run(cmd=ffmpeg_binary(), quiet=True, overwrite_output=True)


def _source_time(source: Path, copy: Path, wanted: Fraction) -> Fraction:
    """When the copy's first packet is shown in the source, seconds: found by its content, not by arithmetic."""
    with open_video(copy) as (container, stream):
        head = next((bytes(packet) for packet in demux(container, stream) if packet.size), b"")
    with open_video(source) as (container, stream):
        moment = _find_before(container, stream, head, wanted)
    if moment is None:
        raise ClipError(Failure.DECODE_ERROR, "the cut does not start with a packet of its source")
    return moment


def _find_before(container: InputContainer, stream: VideoStream, head: bytes, wanted: Fraction) -> Fraction | None:
    """Time of the last packet equal to `head` that is not after `wanted` (still scenes repeat packets)."""
    base = Fraction(stream.time_base or 0)
    found = None
    for packet in demux(container, stream):
        if found is not None and packet.dts is not None and packet.dts * base > wanted:
            break
        if packet.size != len(head) or bytes(packet) != head:
            continue
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None and (found is None or time * base <= wanted):
            found = time * base
    return found
