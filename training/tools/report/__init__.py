"""report: the results of all stages beside the paper's, in one self-contained page."""

import base64
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common.files import write_bytes
from common.pages import Bar, BarChart, largest, make_environment, shown_params
from common.params import read as read_params
from common.paths import PLOTS
from common.redact import redact
from common.sections import SECTIONS
from training import params
from training.clips import MANIFEST, Clip, Clips
from training.engine.checkpoints import data_fingerprint
from training.tools.report import charts, curves, fewshot, locked, metrics_files, paper, runs, settings, tables
from training.tools.report.charts import Guide, Interval, IntervalChart, LineChart
from training.tools.report.results import LOSSES, Results
from training.tools.report.tables import Row, Table

OUT = Path("reports/results.html")
_PACKAGES = ("torch", "timm", "numpy", "pandas", "pyarrow", "opencv-python-headless", "dvc")
_NOT_RUN = "not run yet"
_CAPTIONS = {"stage1_reconstruction": "Figure 3: reconstructions of held-out clips"}


@dataclass(frozen=True)
class Picture:
    """A PNG file in base64, and its name."""

    name: str
    data: str


@dataclass(frozen=True)
class Stage:
    """What the page shows of a stage.

    Args:
        state: `not run yet`, `current`, `stale`, `unfinished`, `recorded` in dvc.lock by a run elsewhere, or `unknown`.
        target: of `make`, which runs it.
        tables: of its results.
        charts: of its results and losses.
        pictures: that it has drawn.
    """

    state: str
    target: str
    tables: Sequence[Table] = ()
    charts: Sequence[LineChart | IntervalChart] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Page:
    """Everything that the page shows."""

    corpus: str
    overview: Table
    largest: Sequence[BarChart]
    settings: Sequence[Table]
    stages: Mapping[str, Stage]
    differences: Sequence[paper.Difference]
    runs: Table | None
    data: str | None
    versions: Table
    metrics: Mapping[str, Table]
    params: str


def main() -> None:
    """Read metrics/, plots/, logs/, params.yaml and the shards manifest; write reports/results.html.

    Raises:
        ParamError: params.yaml is wrong.
        WorkError: there are no metrics at all, or a file is damaged or of another version.
    """
    page = render(collect()).encode()
    write_bytes(OUT, page)
    print(f"{OUT}: {len(page) / 1e6:.1f} MB")


def render(page: Page) -> str:
    """The page as HTML."""
    return make_environment(Path(__file__).parent).get_template("results.html.jinja").render(page=page, geometry=charts)


def collect() -> Page:
    """Read everything that the page shows; raises as `main` does."""
    found = metrics_files.read()
    current = params.load()
    file = read_params(SECTIONS)
    clips = Clips().rows if MANIFEST.exists() else ()
    records = runs.read(current)
    labelled = sum(bool(clip.tinyvirat_labels) and clip.official_split != "test" for clip in clips)
    training = sum(clip.split == "train" for clip in clips)
    size = file.raw["resize"]["size"]
    stages = _stages(found, records)
    return Page(
        corpus=redact(file.corpus),
        overview=_overview(found, stages),
        largest=_largest_classes(clips),
        settings=(
            tables.of_settings("Table 1: stage 1", settings.table1(current, size, training)),
            tables.of_settings("Table 2: stage 2, from scratch", settings.table2(current, size, labelled)),
        ),
        stages=stages,
        differences=(paper.SAMPLE_DIFFERENCE, *paper.DIFFERENCES) if file.corpus == "sample" else paper.DIFFERENCES,
        runs=tables.of_runs(records) if records else None,
        data=data_fingerprint() if MANIFEST.exists() else None,
        versions=_versions(),
        metrics={
            name: Table(f"metrics/{name}.json", ("key", "value"), tables.flat(values))
            for name, values in found.raw.items()
        },
        params=shown_params(),
    )


def _stages(found: Results, records: list[runs.Record]) -> dict[str, Stage]:
    way = found.evaluate.way if found.evaluate is not None else None
    chance = {"accuracy": [Guide(f"chance, {1 / way:.1%}", 1 / way)]} if way else {}
    learners = found.stage3 or {}
    has_run = {
        "pretrain": found.pretrain is not None,
        "stage1": found.stage1 is not None,
        "stage2": found.stage2 is not None,
        "stage3": found.stage3 is not None,
        "evaluate": found.evaluate is not None,
    }
    targets = dict.fromkeys(has_run, "train-stage3") | {
        "stage1": "train-stage1",
        "stage2": "train-stage2",
        "evaluate": "evaluate",
    }
    shown: dict[str, tuple[list[Table], list[LineChart | IntervalChart]]] = {
        "pretrain": _pretrain(found),
        "stage1": _stage1(found),
        "stage2": _stage2(found),
        "stage3": (
            [tables.of_learners(learners)] if learners else [],
            [*curves.charts("Training", {tables.name_of(name): f"stage3/{name}" for name in learners}, chance)],
        ),
        "evaluate": _evaluate(found),
    }
    stages = {}
    for name, (own_tables, own_charts) in shown.items():
        state = _state(name, records) if has_run[name] else _NOT_RUN
        pictures = _pictures(name) if has_run[name] else []
        stages[name] = Stage(state, targets[name], own_tables, own_charts if has_run[name] else [], pictures)
    ablation = [] if found.ablation is None else [tables.of_ablation(found.ablation)]
    state = _NOT_RUN if found.ablation is None else runs.state_of(["stage2", "ablation_stage2"], records)
    return stages | {
        "ablation": Stage(state, "ablation-stage2", ablation),
        "few_shot_ablation": _few_shot_ablation(found, records),
    }


def _state(name: str, records: list[runs.Record]) -> str:
    """Of a stage's results: by its runs here, or else by dvc.lock."""
    state = runs.state_of(["stage3" if name == "evaluate" else name], records)
    return locked.state_of(name) if state == "unknown" else state


def _few_shot_ablation(found: Results, records: list[runs.Record]) -> Stage:
    result = found.few_shot_ablation
    if result is None:
        return Stage(_NOT_RUN, "ablation")
    state = runs.state_of(["ablation"], records)
    return Stage(state, "ablation", fewshot.of_ablation(result), fewshot.ablation_charts(result))


def _pretrain(found: Results) -> tuple[list[Table], list[LineChart | IntervalChart]]:
    drawn: list[LineChart | IntervalChart] = [*curves.charts("Pre-training", {"pretrain": "pretrain"})]
    if found.pretrain is None or not found.pretrain.errors:
        return [], drawn
    rows = [
        Interval(
            "autoencoder" if name == "model" else tables.name_of(name), error.mean, error.ci95, int(name != "model")
        )
        for name, error in found.pretrain.errors.items()
        if error.mean is not None
    ]
    chart = IntervalChart("Error of masked pixels on the held-out classes", "mean squared error, standardised", rows)
    return [tables.of_pretrain(found.pretrain)], [chart, *drawn] if rows else drawn


def _stage1(found: Results) -> tuple[list[Table], list[LineChart | IntervalChart]]:
    drawn: list[LineChart | IntervalChart] = [*curves.charts("Fine-tuning", {"stage1": "stage1"})]
    if found.stage1 is None:
        return [], drawn
    losses = found.stage1.fine_tuned.overall
    errors = [
        curves.tick_chart(found.stage1, loss, f"{tables.LOSS_NAMES[loss].capitalize()}, by frame") for loss in losses
    ]
    return [tables.of_stage1(found.stage1, loss) for loss in losses], [*errors, *drawn]


def _stage2(found: Results) -> tuple[list[Table], list[LineChart | IntervalChart]]:
    result = found.stage2
    if result is None:
        return [], []
    guides = {"top1": [Guide(f"chance, {1 / result.classes:.1%}", 1 / result.classes)]}
    drawn: list[LineChart | IntervalChart] = []
    for name, title in (("autoencoder", "Autoencoder"), ("unmasked", "Unmasked clips"), ("masked", "Masked clips")):
        drawn += curves.charts(title, {name: f"stage2/{name}"}, guides)
    rows = [
        Interval(name, score.top1.mean, score.top1.ci95, colour)
        for colour, scores in enumerate((result.scores, result.controls))
        for name, score in ((tables.name_of(name), score) for name, score in scores.items())
        if score.top1.mean is not None
    ]
    overall = IntervalChart("Top-1 accuracy on TinyVIRAT's test clips", "top-1, %", rows, guides["top1"], percent=True)
    return [tables.of_stage2(result)], [overall, *drawn] if rows else drawn


def _evaluate(found: Results) -> tuple[list[Table], list[LineChart | IntervalChart]]:
    if found.evaluate is None:
        return [], []
    rows = {
        tables.name_of(name): {k: (value.mean, value.ci95) for k, value in method.instances.items()}
        for name, method in found.evaluate.methods.items()
    }
    return (
        [
            tables.of_few_shot(found.evaluate),
            tables.of_instances(found.evaluate),
            *fewshot.of_sources(found.evaluate),
            *fewshot.of_confused_pairs(),
        ],
        [curves.instance_chart(rows, found.evaluate.way)],
    )


def _overview(found: Results, stages: Mapping[str, Stage]) -> Table:
    """One line per stage: its main result, the best trivial control and the paper's number."""
    none = tables.NOTHING
    lines: dict[str, tuple[str, str, str, str]] = {}
    if found.pretrain is not None:
        errors = found.pretrain.errors
        others = [error for name, error in errors.items() if name != "model" and error.mean is not None]
        best = min(others, key=lambda error: error.mean or 0, default=None)
        lines["pretrain"] = ("masked error", tables.show(errors.get("model")), tables.show(best), none)
    if found.stage1 is not None:
        loss = LOSSES[0]
        controls = [item.overall[loss] for item in found.stage1.controls.values()]
        best = min((error for error in controls if error.mean is not None), key=lambda e: e.mean or 0, default=None)
        lines["stage1"] = (
            "mean squared error, fine-tuned",
            tables.show(found.stage1.fine_tuned.overall[loss]),
            tables.show(best),
            f"{paper.RECONSTRUCTION_OVERALL['fine-tuned']}",
        )
    if found.stage2 is not None:
        tops = [score.top1 for score in found.stage2.controls.values() if score.top1.mean is not None]
        best = max(tops, key=lambda top: top.mean or 0, default=None)
        ours = tables.percent(found.stage2.scores["unmasked"].top1)
        lines["stage2"] = ("top-1 in %, unmasked", ours, tables.percent(best), f"{paper.SPT_TOP1}")
    if found.evaluate is not None and found.evaluate.methods:
        methods = found.evaluate.methods
        name = next((name for name in ("mann_pretrained",) if name in methods), next(iter(methods)))
        shots = methods[name].few_shot
        lines["evaluate"] = (
            f"{tables.name_of(name)}, in %: " + " | ".join(tables.shots_of(shot) for shot in shots),
            " | ".join(tables.percent(value) for value in shots.values()),
            f"{100 / found.evaluate.way:.1f} (chance)",
            none,
        )
    titles = {"pretrain": "pre-training", "stage1": "stage 1", "stage2": "stage 2", "evaluate": "stage 3"}
    rows = [
        Row(title, (*lines.get(name, ("", none, none, none)), _state_text(stages[name])))
        for name, title in titles.items()
    ]
    return Table(
        "Main results", ("", "measure", "ours", "best control", "paper", "state"), rows, texts=("measure", "state")
    )


def _state_text(stage: Stage) -> str:
    return f"{stage.state}: make {stage.target}" if stage.state == _NOT_RUN else stage.state


def _largest_classes(clips: Sequence[Clip]) -> list[BarChart]:
    """One chart per split."""
    names = {clip.class_id: clip.class_name for clip in clips}
    counts = Counter((clip.split, clip.class_id) for clip in clips)
    bars = {
        split: [Bar(names[number], count) for (part, number), count in counts.items() if part == split]
        for split in ("train", "val", "test")
    }
    return [largest(split, classes) for split, classes in bars.items() if classes]


def _pictures(stage: str) -> list[Picture]:
    """The PNG files in plots/ whose names begin with the stage's."""
    return [
        Picture(_CAPTIONS.get(path.stem, path.stem.replace("_", " ")), base64.b64encode(path.read_bytes()).decode())
        for path in sorted(PLOTS.glob(f"{stage}_*.png"))
    ]


def _versions() -> Table:
    rows = [Row("Python", (platform.python_version(),))]
    for name in _PACKAGES:
        try:
            rows.append(Row(name, (version(name),)))
        except PackageNotFoundError:
            rows.append(Row(name, ("not installed",)))
    return Table("Versions on the machine that wrote this page", ("package", "version"), rows, texts=("version",))
