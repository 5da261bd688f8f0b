"""How motion, sharpness and brightness are spread over the decoded clips, and how many near-duplicates there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

from pipeline.tools.funnel import Tables

NAMES = ("motion", "sharpness", "brightness")


@dataclass(frozen=True)
class Spread:
    """Least and largest value of one measure, its median, and the values that 5% of the clips are below and above."""

    name: str
    min: float
    p05: float
    median: float
    p95: float
    max: float


def spreads(tables: Tables) -> list[Spread]:
    """The spread of each measure over the clips that have a filmstrip; none if there are no clips."""
    rows = [row for row in tables.resize if row.status == "ok"]
    return [_spread(name, sorted(getattr(row, name) for row in rows)) for name in NAMES] if rows else []


def near_duplicates(tables: Tables) -> int:
    """The number of clips that have `duplicate_of`, of those with a filmstrip."""
    return sum(row.duplicate_of is not None for row in tables.merge)


def _spread(name: str, values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(name, values[0], values[0], values[0], values[0], values[0])
    twentieths = quantiles(values, n=20, method="inclusive")
    return Spread(name, values[0], twentieths[0], twentieths[9], twentieths[18], values[-1])
