"""Where clips go: how many reach each stage, by source, and where and why the others are lost. From the manifests alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.records import manifests
from pipeline.records.manifests import Row

STEPS = ("annotated", "wanted", "downloaded", "decoded", "composite", "in shards")
_MANIFESTS = ("download", "trim", "resample", "resize", "clips", "shards")

Tables = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Loss:
    """Clips that one stage lost for one reason; `example` is the first of them."""

    stage: str
    source: str
    error: str
    clips: int
    example: Row


def read() -> Tables:
    """The per-clip manifests that exist so far.

    Raises:
        WorkError: not even download has run.
    """
    tables = {name: manifests.read(name) for name in _MANIFESTS if manifests.path_of(name).exists()}
    return tables or {"download": manifests.read("download")}


def steps(tables: Tables) -> dict[str, list[int]]:
    """How many clips of each source reach each of `STEPS`."""

    def ok(name: str) -> Counter[str]:
        return Counter(row["source"] for row in tables.get(name, ()) if row["status"] == "ok")

    download = tables["download"]
    columns = [
        Counter(row["source"] for row in download),
        Counter(row["source"] for row in download if row["status"] != "spare"),
        *(ok(name) for name in ("download", "resize", "clips", "shards")),
    ]
    return {source: [column[source] for column in columns] for source in columns[0]}


def losses(tables: Tables) -> list[Loss]:
    """Every failure once, at the stage where it first appears; by stage, the most frequent first."""
    known: set[str] = set()
    found = []
    for name in _MANIFESTS:
        fresh = [row for row in tables.get(name, ()) if row["status"] == "failed" and row["clip_id"] not in known]
        known |= {row["clip_id"] for row in fresh}
        by_reason: dict[tuple[str, str], list[Row]] = {}
        for row in fresh:
            by_reason.setdefault((row["source"], row["error"]), []).append(row)
        stage = "merge" if name == "clips" else name
        for (source, error), rows in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
            found.append(Loss(stage, source, error, len(rows), min(rows, key=lambda row: str(row["clip_id"]))))
    return found
