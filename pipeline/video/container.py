"""Open a video file with PyAV; everything that goes wrong is a `ClipError` with a failure code."""

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

cv2.setNumThreads(0)  # the runner has one process per core already
av.logging.set_level(av.logging.PANIC)  # broken files are ordinary input; the manifest records the error

# 8K is 33 million pixels. A header may claim any size, and a decoder allocates memory for it.
_MAX_PIXELS = 1 << 26


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and yield its container and first video stream (cover art excluded), set to decode on one thread.

    Errors of FFmpeg and OpenCV inside the `with` block are raised as `ClipError`. Container and stream are closed
    when the block ends.

    Raises:
        ClipError: not_found, forbidden, unreadable_container, no_video_stream or decode_error.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115 (closed below; only errors of opening are caught here)
    except FileNotFoundError:
        raise ClipError(Failure.NOT_FOUND, f"{path} does not exist") from None
    except PermissionError:
        raise ClipError(Failure.FORBIDDEN, f"no permission to read {path}") from None
    except IsADirectoryError:
        raise ClipError(Failure.UNREADABLE_CONTAINER, f"{path} is a folder, not a file") from None
    with file, _open_stream(file) as opened:
        yield opened


@contextmanager
def _open_stream(file: BinaryIO) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not file.read(1):
        raise ClipError(Failure.UNREADABLE_CONTAINER, "the file is empty")
    file.seek(0)
    try:
        # Playlists and ffconcat files name other files and hosts to read; without protocols FFmpeg opens none of them.
        container = av.open(file, "r", metadata_errors="ignore", options={"protocol_whitelist": "none"})
    except (av.FFmpegError, ValueError, OSError) as error:
        raise ClipError(Failure.UNREADABLE_CONTAINER, error_text(error)) from None
    with container:
        stream = _first_video_stream(container)
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.flags |= Flags.unaligned  # crop the left edge exactly, not to an aligned column
        stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
        try:
            yield container, stream
        except (av.FFmpegError, cv2.error, ValueError, MemoryError) as error:
            raise ClipError(Failure.DECODE_ERROR, error_text(error)) from None


def demux(container: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    """Packets of `stream` from the current position; the last is an empty one, which flushes the decoder."""
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:
            # PyAV raises this when the file has a stream that it did not find at opening, which is not `stream`.
            continue


def error_text(error: Exception) -> str:
    """The message of an exception; the name of its class if it has none."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _first_video_stream(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            if stream.codec_context is None:
                raise ClipError(Failure.DECODE_ERROR, "no decoder for the video stream")
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise ClipError(Failure.NO_VIDEO_STREAM, f"the file holds {kinds} only")
