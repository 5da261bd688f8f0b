"""Counts of clips by stage and source, and of losses by stage and failure code; from the manifests alone."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.records import manifests
from pipeline.records.rows import ClipRow, CompositeRow, DownloadRow, ResampleRow, ResizeRow, ShardRow, TrimRow

STEPS = ("annotated", "wanted", "downloaded", "decoded", "composite", "in shards")


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
    columns = [
        Counter(row.source for row in tables.download),
        Counter(row.source for row in tables.download if row.status != "spare"),
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
            if row.status == "failed" and row.clip_id not in known:
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


def _count_ok(rows: Iterable[ClipRow]) -> Counter[str]:
    return Counter(row.source for row in rows if row.status == "ok")
