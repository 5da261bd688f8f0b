"""Clips as their publisher annotates them, and their rows in the download manifest."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from common.redact import redact
from pipeline.records.failures import ClipError
from pipeline.records.rows import DownloadRow
from pipeline.runner.ledger import Outcome, digest

_MAX_ID_LENGTH = 150  # leaves room for a suffix within the 255 bytes of a file name
_LENGTH_FACTOR, _LENGTH_MARGIN_S = 2, 5  # a cut at keyframes is longer than annotated


@dataclass(frozen=True)
class Annotation:
    """A clip as annotated, before any of its bytes are fetched; the fields are columns of `DownloadRow`."""

    clip_id: str
    source: str
    video_id: str
    labels: tuple[str, ...]
    official_split: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    precut: bool = True
    in_minikinetics200: bool = False


@dataclass(frozen=True)
class Arrival:
    """A clip's file on disk, the URL it came from, and its annotated length if there is one to check."""

    path: Path
    url: str
    annotated_s: float | None = None

    @property
    def max_s(self) -> float | None:
        """Seconds that the file may last at most."""
        return None if self.annotated_s is None else _LENGTH_FACTOR * self.annotated_s + _LENGTH_MARGIN_S

    @property
    def max_s_text(self) -> str:
        """The formula of `max_s`, for messages."""
        return f"{_LENGTH_FACTOR} x {self.annotated_s:g} + {_LENGTH_MARGIN_S} s"


@dataclass(frozen=True)
class Probed:
    """A file that is a readable video."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """The result of fetching one clip: the URL, the outcome, and the file if there is one."""

    url: str | None
    outcome: Outcome[Probed]
    path: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether the clip is usable."""
        return self.outcome.error is None

    @classmethod
    def failed(cls, url: str | None, error: ClipError) -> "Fetched":
        """The result for a clip that has no file."""
        return cls(url, Outcome.failed("", error))


def make_id(*parts: str) -> str:
    """A clip_id of letters, digits, `-` and `_`; a digest keeps ids unique where parts had to be changed or shortened."""
    plain = "-".join(parts)
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", unicodedata.normalize("NFKD", plain))
    if safe == plain and len(safe) <= _MAX_ID_LENGTH:
        return safe
    return f"{safe[: _MAX_ID_LENGTH - 9]}-{hashlib.sha256(plain.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _stored(url: str | None) -> str | None:
    """A URL without credentials; a path as it is."""
    return redact(url) if url is not None and "://" in url else url


def to_row(clip: Annotation, fetched: Fetched, *, rank: int | None = None, quota: int | None = None) -> DownloadRow:
    """The row of a clip that was fetched, or that could not be."""
    outcome = fetched.outcome
    row = replace(spare_row(clip, quota=quota), rank=rank, url=_stored(fetched.url), attempts=outcome.attempts)
    # Later stages are keyed by the clip's content, not by where and when its file was written.
    if outcome.result is not None:
        return replace(
            row,
            status="ok",
            path=outcome.result.path,
            bytes=outcome.result.bytes,
            sha256=outcome.result.sha256,
            key=digest("download", outcome.result.sha256, clip.precut, clip.start_s, clip.end_s),
        )
    key = digest("download", clip.clip_id, outcome.error, outcome.error_detail)
    row = replace(row, status="failed", error=outcome.error, error_detail=outcome.error_detail, key=key)
    return row if fetched.path is None else replace(row, path=str(fetched.path))


def failed_row(clip: Annotation, error: ClipError, *, quota: int | None = None) -> DownloadRow:
    """The row of a clip that is lost before there is a file to probe."""
    return to_row(clip, Fetched.failed(None, error), quota=quota)


def spare_row(clip: Annotation, *, quota: int | None = None) -> DownloadRow:
    """The row of a clip that is not fetched: its class has its quota and reserve without it."""
    return DownloadRow(
        clip_id=clip.clip_id,
        source=clip.source,
        status="spare",
        attempts=0,
        video_id=clip.video_id,
        start_s=clip.start_s,
        end_s=clip.end_s,
        official_split=clip.official_split,
        labels=clip.labels,
        in_minikinetics200=clip.in_minikinetics200,
        precut=clip.precut,
        quota=quota,
    )
