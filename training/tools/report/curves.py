"""The loss and accuracy curves of runs: plots/<run>.tsv and plots/<run>_validation.tsv as charts."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import WorkError
from common.paths import PLOTS
from training.tools.report.charts import Guide, Line, LineChart, Point
from training.tools.report.results import Stage1

_POINTS = 160  # of a line; each is a mean over as many steps as needed
_PERCENT = ("accuracy", "top1", "top5", "f1")
_MAX_BYTES = 200_000_000

Columns = Mapping[str, Sequence[float]]


def read(path: Path) -> Columns:
    """The columns of a table of numbers; none if the file does not exist.

    Raises:
        WorkError: the file is damaged.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise WorkError(f"{path} has over {_MAX_BYTES:,} bytes: run its stage again")
        head, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        values = [[float(cell) for cell in row] for row in rows]
        return dict(zip(head, zip(*values, strict=True), strict=True)) if values else {}
    except FileNotFoundError:
        return {}
    except ValueError:  # of the numbers, the lengths or the encoding
        raise WorkError(f"{path} is damaged: run its stage again") from None


def charts(title: str, runs: Mapping[str, str], guides: Mapping[str, Sequence[Guide]] | None = None) -> list[LineChart]:
    """A chart for each column that the tables of the runs have; with one line per run, and one for its validation.

    Args:
        title: of the charts, before the column's name.
        runs: names of runs by the name of their lines.
        guides: levels by column.
    """
    lines: dict[str, list[Line]] = {}
    merged = 1
    for name, run in runs.items():
        for table, suffix in ((run, "training"), (f"{run}_validation", "validation")):
            columns = read(PLOTS / f"{table}.tsv")
            steps = columns.get("step", ())
            size = -(-len(steps) // _POINTS) or 1
            merged = max(merged, size)
            for column, values in columns.items():
                if column != "step":
                    label = suffix if len(runs) == 1 else f"{name}, {suffix}" if suffix == "validation" else name
                    lines.setdefault(column, []).append(Line(label, thin(steps, values, size)))
    note = f"Each point is a mean over {merged:,} steps." if merged > 1 else ""
    return [
        LineChart(
            f"{title}: {_label(column)}",
            "step",
            found,
            (guides or {}).get(column, ()),
            _is_share(column),
            note,
        )
        for column, found in lines.items()
        if any(line.points for line in found)
    ]


def thin(steps: Sequence[float], values: Sequence[float], size: int) -> list[Point]:
    """Means over `size` successive steps at the last step of each; steps without a finite value are left out."""
    pairs = [(x, y) for x, y in zip(steps, values, strict=True) if math.isfinite(x) and abs(y) < 1e300]
    groups = [pairs[first : first + size] for first in range(0, len(pairs), size)]
    return [Point(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def tick_chart(result: Stage1, loss: str, title: str) -> LineChart:
    """Error by frame of the models of stage 1 and of the controls, with 95% intervals."""
    named = {"fine-tuned": result.fine_tuned, "not fine-tuned": result.baseline, **result.controls}
    lines = [
        Line(
            name.replace("_", " "), _points({tick: (e.mean, e.ci95) for tick, e in item.by_tick.get(loss, {}).items()})
        )
        for name, item in named.items()
    ]
    return LineChart(title, "frame", lines)


def instance_chart(rows: Mapping[str, Mapping[int, tuple[float | None, float | None]]], way: int) -> LineChart:
    """Accuracy by instance of few-shot methods, with 95% intervals and chance.

    Args:
        rows: mean and half of its interval by method and instance.
        way: classes of an episode.
    """
    lines = [Line(name, _points(cells)) for name, cells in rows.items()]
    title = f"{way}-way accuracy at the k-th instance of a class, %"
    return LineChart(title, "instance", lines, [Guide(f"chance, {1 / way:.1%}", 1 / way)], percent=True)


def _is_share(column: str) -> bool:
    """Whether a column has fractions, which are shown in percent."""
    return any(name in column for name in _PERCENT)


def _label(column: str) -> str:
    """A column's name as text."""
    text = column.replace("_", " ").replace("top1", "top-1").replace("top5", "top-5")
    return f"{text}, %" if _is_share(column) else text


def _points(values: Mapping[int, tuple[float | None, float | None]]) -> list[Point]:
    return [Point(x, mean, ci95) for x, (mean, ci95) in sorted(values.items()) if mean is not None]
