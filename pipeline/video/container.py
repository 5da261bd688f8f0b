"""Open a video file with PyAV; everything that goes wrong is a `ClipError` with a failure code."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import av
import cv2
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from pipeline.records.failures import ClipError, Failure
from pipeline.video.sniff import codec_tag, is_encrypted, reason_not_media, reason_unreadable

cv2.setNumThreads(0)  # the runner has one process per core already
av.logging.set_level(av.logging.PANIC)  # broken files are ordinary input; the manifest records the error

# 8K is 33 million pixels. A header may claim any size, and a decoder allocates memory for it.
_MAX_PIXELS = 1 << 26
_MAX_RETRIES = 1000  # reads in a row that give no packet
_NO_MEMORY = "decoding needs more memory than this process may have"
_ENCRYPTED = "the video is encrypted (DRM)"


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and yield its container and first video stream (cover art excluded), set to decode on one thread.

    Errors of FFmpeg and OpenCV inside the `with` block are raised as `ClipError`. Container and stream are closed
    when the block ends.

    Raises:
        ClipError: not_found, forbidden, unreadable_container, no_video_stream, too_large, out_of_memory or decode_error.
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
    reason = reason_not_media(file)
    if reason is not None:
        raise ClipError(Failure.UNREADABLE_CONTAINER, reason)
    file.seek(0)
    try:
        # Playlists and ffconcat files name other files and hosts to read; without protocols FFmpeg opens none of them.
        container = av.open(file, "r", metadata_errors="ignore", options={"protocol_whitelist": "none"})
    except MemoryError:  # FFmpeg's limits: 1,000 streams, or the size of one allocation
        raise ClipError(Failure.TOO_LARGE, "the header declares too many streams or too large tables") from None
    except (av.FFmpegError, ValueError, OSError) as error:
        raise ClipError(Failure.UNREADABLE_CONTAINER, reason_unreadable(file) or error_text(error)) from None
    with container:
        stream = _first_video_stream(container, file)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all  # damage in another stream does not end the video
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.flags |= Flags.unaligned  # crop the left edge exactly, not to an aligned column
        stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
        try:
            yield container, stream
        except av.PermissionError:
            raise ClipError(Failure.DECODE_ERROR, _ENCRYPTED) from None
        except MemoryError:
            raise ClipError(Failure.OUT_OF_MEMORY, _NO_MEMORY) from None
        except (av.FFmpegError, cv2.error, ValueError) as error:
            if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
                raise ClipError(Failure.OUT_OF_MEMORY, _NO_MEMORY) from None
            raise ClipError(Failure.DECODE_ERROR, error_text(error)) from None
        except ClipError as error:
            if error.code is Failure.DECODE_ERROR and is_encrypted(file):
                raise ClipError(Failure.DECODE_ERROR, _ENCRYPTED) from None
            raise


class BrokenOffError(ClipError):
    """The container cannot be read on from some point: the file is damaged or cut short there."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(Failure.DECODE_ERROR, f"the file breaks off at {seconds:.2f} s: {reason}")


def demux(container: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    """Packets of `stream` from the current position; the last is an empty one, which flushes the decoder.

    Where the file breaks off, the packets before that place are all there are.
    """
    with suppress(BrokenOffError):
        yield from demux_strictly(container, stream)


def demux_strictly(container: InputContainer, stream: VideoStream) -> Iterator["Packet[VideoStream]"]:
    """As `demux`, but raises after the empty packet if the file breaks off.

    Raises:
        BrokenOffError: with the end of the last packet, in seconds after the start of the first.
    """
    first = last = None
    retries = _MAX_RETRIES
    while True:
        try:
            for packet in container.demux(stream):
                if packet.dts is not None:
                    first = packet.dts if first is None else first
                    last = packet.dts + (packet.duration or 0)
                yield packet
                retries = _MAX_RETRIES
            return
        except IndexError:
            # PyAV raises this when the file has a stream that it did not find at opening, which is not `stream`.
            continue
        except av.BlockingIOError:  # the demuxer has read something that is no packet
            retries -= 1
            if retries == 0:
                return
        except av.FFmpegError as error:
            end = Packet()
            end.stream = stream
            yield cast("Packet[VideoStream]", end)
            seconds = 0.0 if first is None or last is None else float((last - first) * (stream.time_base or 0))
            raise BrokenOffError(seconds, error_text(error)) from None


def error_text(error: Exception) -> str:
    """The message of an exception; the name of its class if it has none."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _first_video_stream(container: InputContainer, file: BinaryIO) -> VideoStream:
    if container.format.name == "tty":  # FFmpeg renders the letters of a .txt or .nfo file
        raise ClipError(Failure.UNREADABLE_CONTAINER, "the file is text")
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            if stream.codec_context is None:
                name = codec_tag(file)
                raise ClipError(Failure.DECODE_ERROR, f"no decoder for the video stream{f' ({name})' if name else ''}")
            pixels = stream.codec_context.width * stream.codec_context.height
            if pixels > _MAX_PIXELS:
                size = f"{stream.codec_context.width}x{stream.codec_context.height}"
                raise ClipError(Failure.TOO_LARGE, f"frames of {size} pixels; at most {_MAX_PIXELS:,} are decoded")
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise ClipError(Failure.NO_VIDEO_STREAM, f"the file holds {kinds} only")
