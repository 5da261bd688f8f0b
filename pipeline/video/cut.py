"""Cut a window out of a video by stream copy: no decode, no loss.

A copy has to start at a keyframe, so it usually starts early; `lead_in_s` says by how much, exact to the packet.
"""

import errno
import shutil
from fractions import Fraction
from functools import cache
from pathlib import Path

import ffmpeg
from av.container import InputContainer
from av.video.stream import VideoStream

from common.files import replacing
from pipeline.failures import ClipError, Failure
from pipeline.video.container import open_video
from pipeline.video.frames import shown_frames


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
        video has. The file is `target`, the same name as Matroska where the container cannot hold the codec, or
        `source` itself where it carries no timestamps to cut by.

    Raises:
        ClipError: too_short when the window lies beyond the end; else as `open_video`, or decode_error by ffmpeg.
    """
    frames = shown_frames(source, until_s=Fraction(end_s) + 1, believe=True)
    if Fraction(start_s) >= frames.length:
        raise ClipError(
            Failure.TOO_SHORT, f"the video is {float(frames.length):.2f} s long, the clip starts at {start_s:.2f} s"
        )
    duration = float(min(Fraction(end_s), frames.length) - Fraction(start_s))
    if frames.clock == "rate":
        return source, start_s, duration
    wanted = frames.pts[0] * frames.time_base + Fraction(start_s)
    message = ""
    for path in dict.fromkeys((target, target.with_suffix(".mkv"))):
        try:
            return path, float(_copy_from_keyframe(source, path, wanted, duration + margin_s)), duration
        except ffmpeg.Error as error:
            message = _last_words(error)
            if "No space left on device" in message:
                raise OSError(errno.ENOSPC, message, str(path)) from None
    raise ClipError(Failure.DECODE_ERROR, f"ffmpeg could not copy the clip: {message}")


def _last_words(error: ffmpeg.Error) -> str:
    lines = (error.stderr or b"").decode(errors="replace").strip().splitlines()
    full = [line for line in lines if "No space left on device" in line]
    telling = [line for line in lines if line != "Conversion failed!"]
    return (full or telling or lines or ["no message"])[-1]


def _copy_from_keyframe(source: Path, target: Path, wanted: Fraction, duration: float) -> Fraction:
    """Copy so that the file starts at or before `wanted` (seconds, the stream's own clock); return the lead-in."""
    for earlier in (0, 1, 5, 30, 300):
        _copy(source, target, float(wanted) - earlier, duration + earlier)
        lead_in = wanted - _source_time(source, target, wanted)
        # Indexes are in decoding order: with B-frames a seek can land on the keyframe just after the wanted instant.
        if lead_in >= 0:
            return lead_in
    return Fraction(0)


def _copy(source: Path, target: Path, start: float, duration: float) -> None:
    # Seek by the stream's own clock, and start the output at zero: no edit list that would hide the lead-in.
    job = ffmpeg.input(f"file:{source}", ss=f"{start:.6f}", seek_timestamp=1)
    with replacing(target) as temporary:
        options = {"c": "copy", "t": f"{duration:.6f}", "avoid_negative_ts": "make_zero", "map_metadata": -1}
        job["v:0"].output(str(temporary), **options).run(cmd=ffmpeg_binary(), quiet=True, overwrite_output=True)


def _source_time(source: Path, copy: Path, wanted: Fraction) -> Fraction:
    """When the copy's first packet is shown in the source, seconds: found by its content, not by arithmetic."""
    with open_video(copy) as (container, stream):
        head = next((bytes(packet) for packet in container.demux(stream) if packet.size), b"")
    with open_video(source) as (container, stream):
        moment = _find_before(container, stream, head, wanted)
    if moment is None:
        raise ClipError(Failure.DECODE_ERROR, "the cut does not start with a packet of its source")
    return moment


def _find_before(container: InputContainer, stream: VideoStream, head: bytes, wanted: Fraction) -> Fraction | None:
    """Time of the last packet equal to `head` that is not after `wanted` (still scenes repeat packets)."""
    base = Fraction(stream.time_base or 0)
    found = None
    for packet in container.demux(stream):
        if packet.size != len(head) or bytes(packet) != head:
            continue
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None and (found is None or time * base <= wanted):
            found = time * base
    return found
