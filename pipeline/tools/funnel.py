"""Counts of clips by stage and source, of losses by stage and failure code, and of files that are not videos.

All are from the manifests alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.records import manifests
from pipeline.records.rows import ClipRow, CompositeRow, DownloadRow, ResampleRow, ResizeRow, ShardRow, TrimRow
from pipeline.sources.extensions import other_kind

STEPS = ("annotated", "wanted", "downloaded", "decoded", "composite", "in shards")

_MAX_PATH = 100  # characters


@dataclass(frozen=True)
class Tables:
    """The rows of the manifests that have one row per clip; empty where a stage has not run yet."""

    download: Sequence[DownloadRow]
    trim: Sequence[TrimRow] = ()
    resample: Sequence[ResampleRow] = ()
    resize: Sequence[ResizeRow] = ()
    merge: Sequence[CompositeRow] = ()
    shard: Sequence[ShardRow] = ()

    def by_stage(self) -> Mapping[str, Sequence[ClipRow]]:
        """The rows by the stage that wrote them, in the order of the stages."""
        return {
            "download": self.download,
            "trim": self.trim,
            "resample": self.resample,
            "resize": self.resize,
            "merge": self.merge,
            "shard": self.shard,
        }


@dataclass(frozen=True)
class Loss:
    """Clips of one source that failed in one stage with one failure code; `example` is the first of them."""

    stage: str
    source: str
    error: str
    clips: int
    example: ClipRow


@dataclass(frozen=True)
class OtherFiles:
    """Files in a folder source of one kind (`.txt`, `hidden`) that are not videos; `example` is the first path, shortened."""

    source: str
    kind: str
    files: int
    example: str


def read() -> Tables:
    """Read the manifests that exist.

    Raises:
        WorkError: download.parquet is missing.
    """
    return Tables(
        download=manifests.read(DownloadRow),
        trim=manifests.read(TrimRow) if manifests.exists(TrimRow) else (),
        resample=manifests.read(ResampleRow) if manifests.exists(ResampleRow) else (),
        resize=manifests.read(ResizeRow) if manifests.exists(ResizeRow) else (),
        merge=manifests.read(CompositeRow) if manifests.exists(CompositeRow) else (),
        shard=manifests.read(ShardRow) if manifests.exists(ShardRow) else (),
    )


def count_steps(tables: Tables) -> dict[str, list[int]]:
    """The number of clips at each of `STEPS`, by source; for several sources, their sum as well, named `all`."""
    clips = [row for row in tables.download if row.is_clip]
    columns = [
        Counter(row.source for row in clips),
        Counter(row.source for row in clips if row.status != "spare"),
        *map(_count_ok, (tables.download, tables.resize, tables.merge, tables.shard)),
    ]
    counts = {source: [column[source] for column in columns] for source in columns[0]}
    if len(counts) > 1:
        counts["all"] = [column.total() for column in columns]
    return counts


def failures(tables: Tables) -> Iterator[tuple[str, ClipRow]]:
    """Every lost clip once: the stage where it failed first, and its row there."""
    known: set[str] = set()
    for stage, rows in tables.by_stage().items():
        for row in rows:
            if row.status == "failed" and row.is_clip and row.clip_id not in known:
                known.add(row.clip_id)
                yield stage, row


def losses(tables: Tables) -> list[Loss]:
    """The failures by stage, source and code; in the order of the stages, the most frequent first."""
    groups: dict[tuple[str, str, str], list[ClipRow]] = {}
    for stage, row in failures(tables):
        groups.setdefault((stage, row.source, row.error or ""), []).append(row)
    order = list(tables.by_stage())
    found = [Loss(*group, len(rows), rows[0]) for group, rows in groups.items()]
    return sorted(found, key=lambda loss: (order.index(loss.stage), -loss.clips, loss.source, loss.error))


def other_files(tables: Tables) -> list[OtherFiles]:
    """The files that are not videos by source and kind, the most frequent first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in tables.download:
        if not row.is_clip:
            groups.setdefault((row.source, other_kind(row.video_id) or ""), []).append(row.video_id)
    found = [OtherFiles(*group, len(paths), _shown(min(paths))) for group, paths in groups.items()]
    return sorted(found, key=lambda other: (-other.files, other.source, other.kind))


def _shown(path: str) -> str:
    """A path as one line of bounded length, without characters that a terminal would obey."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)
    return plain if len(plain) <= _MAX_PATH else f"{plain[:_MAX_PATH]}…"


def _count_ok(rows: Iterable[ClipRow]) -> Counter[str]:
    return Counter(row.source for row in rows if row.status == "ok")
