"""Open a video file, or say in one typed failure why it cannot be opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import cv2
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.records.failures import ClipError, Failure

cv2.setNumThreads(0)  # the engine has one process per core already
av.logging.set_level(av.logging.PANIC)  # broken files are ordinary; the manifest says what was wrong

# 8K is 33 million pixels. A header may claim any size, and a decoder allocates what the header claims.
_MAX_PIXELS = 1 << 26


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Yield the container and its first real video stream (cover art is none), decoding on one thread.

    Whatever the decoder raises inside the block becomes a `ClipError`. Neither object outlives the block.

    Raises:
        ClipError: not_found, forbidden, unreadable_container, no_video_stream or decode_error.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115 (closed below; what is caught here concerns opening alone)
    except FileNotFoundError:
        raise ClipError(Failure.NOT_FOUND, f"{path} is not here") from None
    except PermissionError:
        raise ClipError(Failure.FORBIDDEN, f"{path} may not be read") from None
    except IsADirectoryError:
        raise ClipError(Failure.UNREADABLE_CONTAINER, f"{path} is a folder") from None
    with file, _opened(file) as opened:
        yield opened


@contextmanager
def _opened(file: BinaryIO) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not file.read(1):
        raise ClipError(Failure.UNREADABLE_CONTAINER, "the file is empty")
    file.seek(0)
    try:
        # Some formats name other files or hosts to read from (playlists, ffconcat): no protocol, no such reading.
        container = av.open(file, "r", metadata_errors="ignore", options={"protocol_whitelist": "none"})
    except (av.FFmpegError, ValueError, OSError) as error:
        raise ClipError(Failure.UNREADABLE_CONTAINER, _say(error)) from None
    with container:
        stream = _first_video(container)
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.flags |= Flags.unaligned  # crop at the left by exactly what the stream says
        stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
        try:
            yield container, stream
        except (av.FFmpegError, cv2.error, ValueError, MemoryError) as error:
            raise ClipError(Failure.DECODE_ERROR, _say(error)) from None


def demux(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Packets of `stream` from the present position, and at the end one without data that flushes the decoder."""
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:
            # PyAV knows the streams that were there at opening. A packet of one that appears later is not ours.
            continue


def _first_video(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            if stream.codec_context is None:
                raise ClipError(Failure.DECODE_ERROR, "no decoder for the video stream")
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise ClipError(Failure.NO_VIDEO_STREAM, f"the file holds {kinds} only")


def _say(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
