"""What the page shows of stage 3 beside the comparison of methods: sources, confused classes, and the ablation."""

from collections.abc import Mapping, Sequence

from common.errors import WorkError
from common.paths import PLOTS
from training.tools.ablation import ARMS
from training.tools.report.charts import Guide, Line, LineChart, Point
from training.tools.report.results import Ablation, Arm, Evaluate
from training.tools.report.tables import NOTHING, Row, Table, count, name_of, percent, shots_of

_PAIRS = 15  # of confused classes that are shown
_PAIRS_FILE = PLOTS / "confused_pairs.tsv"
_COLUMNS = ["first", "second", "confused", "shown", "share"]


def of_sources(result: Evaluate) -> list[Table]:
    """A table for each source of accuracies in episodes of its classes alone."""
    found = []
    for source in result.sources:
        shots = list(dict.fromkeys(shot for method in source.few_shot.values() for shot in method))
        rows = [
            Row(name_of(name), [percent(few_shot.get(shot)) for shot in shots])
            for name, few_shot in source.few_shot.items()
        ]
        rows.append(Row("control: chance", [f"{100 / result.way:.1f}"] * len(shots), "control"))
        caption = f"Few-shot accuracy in %, episodes of {source.name} alone, {source.classes:,} classes"
        found.append(Table(caption, ("", *map(shots_of, shots)), rows))
    return found


def of_confused_pairs() -> list[Table]:
    """The pairs of classes that the first method confuses most; no table where none is recorded.

    Raises:
        WorkError: plots/confused_pairs.tsv is damaged.
    """
    try:
        header, *lines = _PAIRS_FILE.read_text(encoding="utf-8").splitlines()
        if header.split("\t") != _COLUMNS:
            raise ValueError(header)
        rows = []
        for line in lines[:_PAIRS]:
            first, second, confused, shown, share = line.split("\t")
            rows.append(Row(f"{first} | {second}", (count(int(confused)), count(int(shown)), percent(float(share)))))
    except FileNotFoundError:
        return []
    except ValueError:
        raise WorkError(f"{_PAIRS_FILE} is damaged: run `make evaluate` again") from None
    caption = "Classes that the first method confuses most, in the same episodes"
    return [Table(caption, ("", "confused", "predictions", "share, %"), rows)] if rows else []


def of_ablation(ablation: Ablation) -> list[Table]:
    """A table by shots: an arm a row, a share of the labels a column; and the deviations over seeds."""
    found = []
    for shots in _shots(ablation):
        shares = _shares(ablation)
        rows = [
            Row(ARMS.get(name, name_of(name)), [_cell(arm.get(share), shots) for share in shares])
            for name, arm in ablation.arms.items()
        ]
        rows.append(Row("control: chance", [f"{100 / ablation.way:.1f}"] * len(shares), "control"))
        caption = (
            f"Ablation: {shots_of(shots)} accuracy in % by share of the training labels; {ablation.episodes:,} episodes, mean "
            f"of {ablation.seeds} seeds, in brackets their standard deviation"
        )
        found.append(Table(caption, ("", *(_column(ablation, share) for share in shares)), rows))
    return found


def ablation_charts(ablation: Ablation) -> list[LineChart]:
    """Accuracy against the share of labels, a line an arm, for each number of shots."""
    chance = Guide(f"chance, {1 / ablation.way:.1%}", 1 / ablation.way)
    charts = []
    for shots in _shots(ablation):
        lines = [Line(ARMS.get(name, name_of(name)), _points(arm, shots)) for name, arm in ablation.arms.items()]
        title = f"Ablation: {shots_of(shots)} accuracy, %"
        charts.append(LineChart(title, "labels, % of the training clips", lines, [chance], percent=True, log_x=True))
    return charts


def _points(arm: Mapping[float, Arm], shots: str) -> Sequence[Point]:
    found = {share: value for share, result in arm.items() if (value := result.few_shot.get(shots)) is not None}
    return [
        Point(100 * share, value.mean, value.ci95) for share, value in sorted(found.items()) if value.mean is not None
    ]


def _cell(result: Arm | None, shots: str) -> str:
    if result is None or shots not in result.few_shot:
        return NOTHING
    deviation = result.deviations.get(shots)
    return percent(result.few_shot[shots]) + ("" if deviation is None else f" ({100 * deviation:.1f})")


def _column(ablation: Ablation, share: float) -> str:
    labels = next((arm[share].labels for arm in ablation.arms.values() if share in arm), None)
    return f"{100 * share:g}% ({count(labels)} clips)"


def _shares(ablation: Ablation) -> list[float]:
    return sorted({share for arm in ablation.arms.values() for share in arm})


def _shots(ablation: Ablation) -> list[str]:
    results = (result for arm in ablation.arms.values() for result in arm.values())
    return list(dict.fromkeys(shots for result in results for shots in result.few_shot))
