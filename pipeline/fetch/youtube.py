"""Single clips from YouTube by yt-dlp: only the annotated seconds, in the smallest format that is tall enough."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.redact import HIDDEN
from pipeline.records.failures import ClipError, Failure

VERSION = 1  # raised whenever `download` would give another file for the same section
SIZE_LIMIT = 256 << 20  # bytes; ten seconds in the smallest format have about 1 MB

_BY_STATUS = {401: Failure.FORBIDDEN, 403: Failure.FORBIDDEN, 404: Failure.NOT_FOUND, 410: Failure.NOT_FOUND}
_BY_MESSAGE = (
    (r"not a bot|rate.?limit|try again later|too many requests", Failure.RATE_LIMITED),
    (r"unavailable|not available|private|removed|terminated|does not exist|sign in|members|\bage\b", Failure.NOT_FOUND),
    (r"timed out|timeout", Failure.TIMEOUT),
)


@dataclass(frozen=True)
class Section:
    """A time span of one video, and the settings to fetch it with."""

    url: str
    start_s: float
    end_s: float
    stem: str  # path of the file to write, without its suffix: yt-dlp chooses the container
    min_height: int  # pixels
    timeout_s: float
    options: Mapping[str, Any]  # yt-dlp's own: rate limit, cookies, waits


@dataclass(frozen=True)
class Downloaded:
    """The file of one section."""

    path: str
    bytes: int


def download(section: Section) -> Downloaded:
    """Fetch one section by stream copy, with an edit list that makes it begin at `start_s`.

    Raises:
        ClipError: not_found, forbidden, rate_limited, timeout, connection, or too_large.
    """
    import imageio_ffmpeg
    import yt_dlp
    from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

    # yt-dlp's downloader of sections looks for ffmpeg here and ignores the option `ffmpeg_location`.
    FFmpegPostProcessor._ffmpeg_location.set(imageio_ffmpeg.get_ffmpeg_exe())  # noqa: SLF001
    stem = Path(section.stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    temporary = stem.with_name(f".part-{os.getpid()}-{stem.name}")
    try:
        with yt_dlp.YoutubeDL(_yt_dlp_options(section, temporary)) as downloader:
            downloader.extract_info(section.url)
        written = [
            path for path in stem.parent.glob(f"{temporary.name}.*") if not path.name.endswith((".part", ".ytdl"))
        ]
        if not written:
            raise ClipError(Failure.NOT_FOUND, f"{section.url}: yt-dlp wrote no file")
        size = written[0].stat().st_size
        if size > SIZE_LIMIT:
            raise ClipError(
                Failure.TOO_LARGE, f"{section.url}: {size:,} bytes, the limit is {SIZE_LIMIT >> 20} MB for one clip"
            )
        path = stem.with_suffix(re.sub(r"[^a-z0-9.]", "", written[0].suffix.lower()) or ".mp4")
        with written[0].open("rb") as file:
            os.fsync(file.fileno())
        written[0].replace(path)
    except (yt_dlp.utils.YoutubeDLError, OSError) as error:
        raise _to_clip_error(section.url, error, _secrets(section.options)) from None
    finally:
        for left_over in stem.parent.glob(f"{temporary.name}*"):
            left_over.unlink(missing_ok=True)
    return Downloaded(str(path), size)


def _yt_dlp_options(section: Section, temporary: Path) -> Any:  # yt-dlp's own type of it is private
    from yt_dlp.utils import download_range_func

    seconds: Any = [(section.start_s, section.end_s)]  # its type stub allows whole seconds only
    options = {
        "format": f"bv*[height>=?{section.min_height}]",
        "format_sort": ["+res", "+size", "+br"],
        "download_ranges": download_range_func([], seconds),
        "outtmpl": f"{str(temporary).replace('%', '%%')}.%(ext)s",
        "socket_timeout": section.timeout_s,
        "external_downloader_args": {"ffmpeg_i": ["-rw_timeout", str(int(section.timeout_s * 1e6))]},
        "retries": 2,
        "max_filesize": SIZE_LIMIT,
        "noplaylist": True,
        "playlist_items": "1",
        "cachedir": False,
        "js_runtimes": {name: {} for name in ("deno", "node", "bun", "quickjs")},  # YouTube needs any one of them
        "logger": _SilentLogger(),
        "noprogress": True,
        **section.options,
    }
    browser = options.get("cookiesfrombrowser")
    if isinstance(browser, str):
        options["cookiesfrombrowser"] = (browser,)
    return options


def _secrets(options: Mapping[str, Any]) -> list[str]:
    """Values of the params that messages must not quote."""
    values = (options.get(name) for name in ("proxy", "cookiefile", "cookiesfrombrowser"))
    return [value for value in values if isinstance(value, str) and value]


def _to_clip_error(url: str, error: BaseException, secrets: Sequence[str] = ()) -> ClipError:
    """yt-dlp's exception as a typed failure: by HTTP status if it has one, else by its message."""
    message = re.sub(r"\x1b\[[\d;]*m", "", str(error)).removeprefix("ERROR: ")
    for secret in secrets:
        message = message.replace(secret, HIDDEN)
    detail = f"{url}: {message}"
    status = next((status for status in map(_http_status, _cause_chain(error)) if status), None)
    if status is not None:
        other = Failure.RATE_LIMITED if status in (429, 503) else Failure.CONNECTION
        return ClipError(_BY_STATUS.get(status, other), detail)
    for pattern, code in _BY_MESSAGE:
        if re.search(pattern, message, re.IGNORECASE):
            return ClipError(code, detail)
    return ClipError(Failure.CONNECTION, detail)


def _cause_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes, in any of the three places where yt-dlp keeps them."""
    for _ in range(10):
        if error is None:
            return
        yield error
        inner = getattr(error, "exc_info", None) or (None, None)
        error = inner[1] or getattr(error, "cause", None) or error.__cause__


def _http_status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


class _SilentLogger:
    """Discards yt-dlp's output; its errors are raised as exceptions."""

    def debug(self, message: str) -> None:
        """Discard."""

    info = warning = error = debug
