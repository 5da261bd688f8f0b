"""stats: print the funnel from annotation to shard, losses by reason, other files, listed clips, measures, and seconds per clip."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from common.command import print_json
from pipeline import params, sources
from pipeline.composite import coverage
from pipeline.composite.coverage import Coverage
from pipeline.tools import funnel, ledgers, measures
from pipeline.tools.funnel import Loss, OtherFiles, Tables

_LABELS = {"download": "probe"}  # the ledger `download` records the probes of files that have arrived
_MAX_KINDS = 20  # lines of files that are not videos


def main() -> None:
    """Print six tables, from the manifests and ledgers that exist so far.

    Raises:
        ParamError: params.yaml is invalid; its `sources` say which of them list their clips.
        WorkError: download.parquet is missing.
    """
    tables = funnel.read()
    blocks = [
        _steps_table(funnel.count_steps(tables)),
        _losses_table(funnel.losses(tables)),
        _others_table(funnel.other_files(tables)),
        _coverage_table(_read_coverage(tables)),
        _measures_table(tables),
        _seconds_table(),
    ]
    print("\n\n".join("\n".join(lines) for lines in blocks if lines))


def main_json() -> None:
    """Print the tables as one JSON document.

    Raises:
        WorkError: download.parquet is missing.
    """
    tables = funnel.read()
    steps = funnel.count_steps(tables)
    document = {
        "clips": {source: dict(zip(funnel.STEPS, counts, strict=True)) for source, counts in steps.items()},
        "losses": [
            {
                "stage": loss.stage,
                "source": loss.source,
                "error": loss.error,
                "clips": loss.clips,
                "example": {"clip_id": loss.example.clip_id, "error_detail": loss.example.error_detail},
            }
            for loss in funnel.losses(tables)
        ],
        "not_videos": [asdict(other) for other in funnel.other_files(tables)],
        "coverage": [asdict(row) for row in _read_coverage(tables)],
        "measures": [asdict(spread) for spread in measures.spreads(tables)],
        "near_duplicates": measures.near_duplicates(tables),
        "seconds_per_clip": {step.name: {"median": step.median_s, "clips": step.clips} for step in _speeds()},
    }
    print_json(document)


def _steps_table(counts: Mapping[str, Sequence[int]]) -> list[str]:
    width = max(map(len, counts), default=0)
    lines = [" ".join([" " * width, *(f"{name:>10}" for name in funnel.STEPS)])]
    for source, numbers in counts.items():
        lines.append(" ".join([f"{source:<{width}}", *(f"{number:>10,}" for number in numbers)]))
    return lines


def _losses_table(losses: Iterable[Loss]) -> list[str]:
    lines = [
        f"  {loss.clips:>6,}  {loss.stage:<9} {loss.source:<12} {loss.error:<20} "
        f"{loss.example.clip_id}: {loss.example.error_detail}"
        for loss in losses
    ]
    return ["lost, by stage and reason, each with one example:", *lines] if lines else []


def _others_table(others: Sequence[OtherFiles]) -> list[str]:
    lines = [f"  {other.files:>6,}  {other.source:<12} {other.kind:<12}  {other.example}" for other in others]
    rest = others[_MAX_KINDS:]
    if rest:
        lines[_MAX_KINDS:] = [f"  {sum(other.files for other in rest):>6,}  of {len(rest)} other kinds"]
    return ["not videos, by source and extension, each with one example:", *lines] if lines else []


def _read_coverage(tables: Tables) -> list[Coverage]:
    """The coverage of the sources that list their clips, once `merge` has decided which clips are missing."""
    if not tables.merge:
        return []
    listed = sources.with_listed_clips(params.load().sources)
    return [row for source in sorted(listed) for row in coverage.measure(source, tables.merge, tables.download)]


def _coverage_table(rows: Sequence[Coverage]) -> list[str]:
    if not rows:
        return []
    width = max(len(row.source) for row in rows)
    lines = [
        f"  {row.source:<{width}}  {row.split:<5} {row.listed:>7,} {row.present:>7,} {row.listed - row.present:>7,}"
        f"  {row.clips_sha256}  {row.files_sha256}"
        for row in rows
    ]
    names = f"{'listed':>7} {'present':>7} {'missing':>7}  {'sha256 of clip ids':<64}  sha256 of clip ids and files"
    return ["listed clips, by split:", f"  {'':<{width}}  {'':<5} {names}", *lines]


def _measures_table(tables: Tables) -> list[str]:
    spreads = measures.spreads(tables)
    if not spreads:
        return []
    lines = [
        f"  {row.name:<10} {row.min:>9.4f} {row.p05:>9.4f} {row.median:>9.4f} {row.p95:>9.4f} {row.max:>9.4f}"
        for row in spreads
    ]
    names = "".join(f" {name:>9}" for name in ("least", "5% below", "median", "5% above", "most"))
    duplicates = f"  near-duplicates of other clips: {measures.near_duplicates(tables):,}"
    return ["measures of the decoded clips, for merge.where:", f"  {'':<10}{names}", *lines, duplicates]


@dataclass(frozen=True)
class _Speed:
    """The median wall time, in seconds, of the clips that have a result in one ledger."""

    name: str
    median_s: float
    clips: int


def _speeds() -> list[_Speed]:
    speeds = []
    for name in ledgers.existing():
        with ledgers.open_ledger(name) as ledger:
            seconds = [outcome.seconds for outcome in ledger.load().values() if outcome.result is not None]
        if seconds:
            speeds.append(_Speed(_LABELS.get(name, name), median(seconds), len(seconds)))
    return speeds


def _seconds_table() -> list[str]:
    lines = [f"  {step.name:<9} {step.median_s:.3f} s a clip, median of {step.clips:,}" for step in _speeds()]
    return ["time, from the ledgers:", *lines] if lines else []
