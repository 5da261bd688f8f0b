"""Open a video file, or say in one typed failure why it cannot be opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.failures import ClipError, Failure

cv2.setNumThreads(0)  # the engine has one process per core already
av.logging.set_level(av.logging.PANIC)  # broken files are ordinary; the manifest says what was wrong


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Yield the container and its first real video stream (cover art is none), decoding on one thread.

    Whatever the decoder raises inside the block becomes a `ClipError`.

    Raises:
        ClipError: not_found, forbidden, unreadable_container, no_video_stream or decode_error.
    """
    try:
        if Path(path).stat().st_size == 0:
            raise ClipError(Failure.UNREADABLE_CONTAINER, "the file is empty")
        # `file:` keeps a name such as `concat:a|b` or `http://...` from being read as a protocol of FFmpeg's.
        container = av.open(f"file:{path}", metadata_errors="ignore")
    except FileNotFoundError:
        raise ClipError(Failure.NOT_FOUND, f"{path} is not here") from None
    except PermissionError:
        raise ClipError(Failure.FORBIDDEN, f"{path} may not be read") from None
    except (av.FFmpegError, ValueError, OSError) as error:
        raise ClipError(Failure.UNREADABLE_CONTAINER, _say(error)) from None
    with container:
        stream = _first_video(container)
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        try:
            yield container, stream
        except (av.FFmpegError, cv2.error, ValueError) as error:
            raise ClipError(Failure.DECODE_ERROR, _say(error)) from None


def _first_video(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            if stream.codec_context is None:
                raise ClipError(Failure.DECODE_ERROR, "no decoder for the video stream")
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise ClipError(Failure.NO_VIDEO_STREAM, f"the file holds {kinds} only")


def _say(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
