"""Single clips from YouTube, by yt-dlp: the smallest format that will do, and of it only the annotated seconds."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.fetch.hosts import Hosts
from pipeline.params import Download, Engine
from pipeline.records.failures import ClipError, Failure
from pipeline.runner import Task, per_clip
from pipeline.runner.ledger import Outcome, digest
from pipeline.sources.clips import Annotation, Arrival

WATCH = "https://www.youtube.com/watch?v="
VERSION = 1
_STOPS = (Failure.RATE_LIMITED, Failure.FORBIDDEN)
_SIZE_LIMIT = 256 << 20  # bytes; ten seconds at the smallest size have some 1 MB

_SAID = (
    (r"not a bot|rate.?limit|try again later|too many requests", Failure.RATE_LIMITED),
    (r"unavailable|not available|private|removed|terminated|does not exist|sign in|members|age", Failure.NOT_FOUND),
    (r"timed out|timeout", Failure.TIMEOUT),
)
_STATUS = {401: Failure.FORBIDDEN, 403: Failure.FORBIDDEN, 404: Failure.NOT_FOUND, 410: Failure.NOT_FOUND}


@dataclass(frozen=True)
class Section:
    """What is wanted of one video, and how to ask for it."""

    url: str
    start_s: float
    end_s: float
    stem: str  # of the file to write, folder included
    min_height: int
    timeout_s: float
    options: Mapping[str, Any]  # yt-dlp's own: rate limit, cookies, waits


class YouTube:
    """Asks for clips, a few at a time; at the first sign that YouTube has had enough it asks no more in this run."""

    def __init__(self, hosts: Hosts, folder: Path, settings: Download, options: Engine) -> None:
        self._hosts, self._folder, self._settings = hosts, folder, settings
        self._options = replace(options, kind="local", store=None, workers=settings.connections)
        self.refusal: ClipError | None = None

    @property
    def at_hand(self) -> bool:
        """Whether there is anything to ask: params say so, and `corpus` is on the web."""
        return self._settings.youtube and self._hosts.locate(WATCH).startswith(("http://", "https://"))

    def fetch(self, clips: list[Annotation]) -> Iterator[tuple[Annotation, Arrival | None, Outcome]]:
        """Each clip with its file, or with the reason why there is none; ends early when YouTube refuses."""
        step = self._settings.connections
        for begin in tqdm(range(0, len(clips), step), desc="YouTube", unit_scale=step, unit="clip", disable=None):
            batch = {clip.clip_id: clip for clip in clips[begin : begin + step]}
            sections = {clip_id: self._section(clip) for clip_id, clip in batch.items()}
            keys = {
                clip_id: digest("youtube", VERSION, part.url, part.start_s, part.end_s, part.min_height)
                for clip_id, part in sections.items()
            }
            tasks = [Task(clip_id, (part,)) for clip_id, part in sections.items()]
            outcomes = per_clip.map_clips("youtube", download, tasks, keys, self._options, quiet=True)
            for clip_id, clip in batch.items():
                outcome = outcomes[clip_id]
                if outcome.error in _STOPS:
                    self.refusal = ClipError(Failure(outcome.error), f"YouTube refuses: {outcome.error_detail}")
                path = outcome.values.get("path")
                yield clip, Arrival(Path(path), sections[clip_id].url) if path else None, outcome
            if self.refusal is not None:
                tqdm.write(f"{self.refusal.detail}; no more is asked of it now: `python -m pipeline retry` does, later")
                return

    def _section(self, clip: Annotation) -> Section:
        url = self._hosts.locate(WATCH + clip.video_id) + (".mp4" if self._hosts.mirror else "")
        options = {name: value for name, value in asdict(self._settings.yt_dlp).items() if value is not None}
        if self._settings.max_mb_per_s is not None:
            fair = int(self._settings.max_mb_per_s * 1e6 / self._settings.connections)
            options["ratelimit"] = min(fair, options.get("ratelimit", fair))
        return Section(
            url,
            clip.start_s or 0.0,
            clip.end_s or 0.0,
            str(self._folder / clip.clip_id),
            self._settings.min_height,
            self._settings.timeout_s,
            options,
        )


def download(section: Section) -> dict[str, Any]:
    """Fetch one section; a stream copy whose edit list makes it begin at the very start.

    Raises:
        ClipError: not_found, forbidden, rate_limited, timeout, connection, or unsafe_path (far too large).
    """
    import imageio_ffmpeg
    import yt_dlp
    from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor
    from yt_dlp.utils import download_range_func

    # Its downloader of sections looks for ffmpeg here, whatever the option `ffmpeg_location` says.
    FFmpegPostProcessor._ffmpeg_location.set(imageio_ffmpeg.get_ffmpeg_exe())
    stem = Path(section.stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    temporary = stem.with_name(f".part-{os.getpid()}-{stem.name}")
    options = {
        "format": f"bv*[height>=?{section.min_height}]",
        "format_sort": ["+res", "+size", "+br"],
        "download_ranges": download_range_func(None, [(section.start_s, section.end_s)]),
        "outtmpl": f"{temporary}.%(ext)s".replace("%(ext)s", "\0").replace("%", "%%").replace("\0", "%(ext)s"),
        "socket_timeout": section.timeout_s,
        "external_downloader_args": {"ffmpeg_i": ["-rw_timeout", str(int(section.timeout_s * 1e6))]},
        "retries": 2,
        "max_filesize": _SIZE_LIMIT,
        "noplaylist": True,
        "playlist_items": "1",
        "cachedir": False,
        "js_runtimes": {"deno": {}, "node": {}, "bun": {}, "quickjs": {}},  # YouTube wants one; whichever is there
        "logger": _Silence(),
        "noprogress": True,
        **section.options,
    }
    browser = options.get("cookiesfrombrowser")
    if isinstance(browser, str):
        options["cookiesfrombrowser"] = (browser,)
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            downloader.extract_info(section.url)
        made = [path for path in stem.parent.glob(f"{temporary.name}.*") if not path.name.endswith((".part", ".ytdl"))]
        if not made:
            raise ClipError(Failure.NOT_FOUND, f"{section.url}: yt-dlp brought no file")
        path = stem.with_suffix(re.sub(r"[^a-z0-9.]", "", made[0].suffix.lower()) or ".mp4")
        with made[0].open("rb") as file:
            os.fsync(file.fileno())
        os.replace(made[0], path)
    except (yt_dlp.utils.YoutubeDLError, OSError) as error:
        raise _typed(section.url, error) from None
    finally:
        for left_over in stem.parent.glob(f"{temporary.name}*"):
            left_over.unlink(missing_ok=True)
    return {"path": str(path), "bytes": path.stat().st_size}


def _typed(url: str, error: BaseException) -> ClipError:
    """yt-dlp's exception as a failure code: by HTTP status where there is one, else by what it says."""
    said = re.sub(r"\x1b\[[\d;]*m", "", str(error)).removeprefix("ERROR: ")
    detail = f"{url}: {said}"
    status = next((status for status in map(_status, _causes(error)) if status), None)
    if status is not None:
        busy = Failure.RATE_LIMITED if status in (429, 503) else Failure.CONNECTION
        return ClipError(_STATUS.get(status, busy), detail)
    for pattern, code in _SAID:
        if re.search(pattern, said, re.IGNORECASE):
            return ClipError(code, detail)
    return ClipError(Failure.CONNECTION, detail)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what lies below it, however it is kept."""
    for _ in range(10):
        if error is None:
            return
        yield error
        inner = getattr(error, "exc_info", None) or (None, None)
        error = inner[1] or getattr(error, "cause", None) or error.__cause__


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


class _Silence:
    """yt-dlp's output, unheard: what matters comes as an exception."""

    def debug(self, message: str) -> None:
        """Nothing."""

    info = warning = error = debug
