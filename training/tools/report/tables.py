"""The page's tables: the paper's numbers, ours with 95% intervals, and trivial controls."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from training.tools.report import paper
from training.tools.report.results import (
    LOSSES,
    AblationRow,
    Estimate,
    Evaluate,
    Learner,
    Pretrain,
    Reconstruction,
    Score,
    Stage1,
    Stage2,
)
from training.tools.report.runs import Record
from training.tools.report.settings import Setting

NOTHING = "–"
_SCORES = ("top-1", "top-5", "top-1, any label", "top-5, any label", "macro F1", "multi-label F1", "micro F1")
LOSS_NAMES = {
    "mse_standardised": "mean squared error, standardised pixels",
    "bce_pixels": "binary cross entropy of pixels",
    "mse_normalised": "mean squared error, normalised patches",
}


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        name: its head.
        cells: one per column but the first.
        kind: whose numbers they are.
        marked: the row differs from the paper's.
    """

    name: str
    cells: Sequence[str]
    kind: Literal["ours", "paper", "control"] = "ours"
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Args:
        caption: above it.
        columns: their names, the first column's too.
        rows: of the body.
        groups: names of groups of columns with the number of columns of each, in a line above `columns`.
        texts: names of columns that are texts and aligned left.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    groups: Sequence[tuple[str, int]] = ()
    texts: Sequence[str] = field(default=())


def show(estimate: Estimate | None, digits: int = 4, factor: int = 1) -> str:
    """A mean with its interval: `0.4186 ± 0.0076`."""
    if estimate is None or estimate.mean is None:
        return NOTHING
    interval = "" if estimate.ci95 is None else f" ± {estimate.ci95 * factor:.{digits}f}"
    return f"{estimate.mean * factor:.{digits}f}{interval}"


def percent(value: Estimate | float | None) -> str:
    """A fraction in percent, with its interval if it has one."""
    return show(value if isinstance(value, Estimate) else Estimate(value), 1, 100)


def number(value: float | None, digits: int = 4) -> str:
    """A number, or a dash."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def count(value: int | None) -> str:
    """A whole number, or a dash."""
    return NOTHING if value is None else f"{value:,}"


def name_of(name: str) -> str:
    """A method's name as text: `nearest_mean` is `nearest mean`."""
    return name.replace("_", " ")


def shots_of(name: str) -> str:
    """A number of shots as text: `5way_1shot` is `5-way, 1-shot`."""
    return name.replace("_", ", ").replace("way", "-way").replace("shot", "-shot")


def of_settings(caption: str, settings: Sequence[Setting]) -> Table:
    """A table of the paper's settings beside ours."""

    def text(value: object) -> str:
        return "none" if value is None else f"{value:,.6g}" if isinstance(value, int | float) else str(value)

    rows = [
        Row(
            line.name,
            (text(line.paper), text(line.ours), "differs" if line.differs else "", line.note),
            marked=line.differs,
        )
        for line in settings
    ]
    return Table(caption, ("setting", "paper", "params.yaml", "", "note"), rows, texts=("", "note"))


def of_pretrain(result: Pretrain) -> Table:
    """Masked errors of pre-training on the held-out classes."""
    rows = [
        Row("autoencoder" if name == "model" else f"control: {name_of(name)}", (show(error),), _kind(name == "model"))
        for name, error in result.errors.items()
    ]
    clips = "" if result.test_clips is None else f", {result.test_clips:,} clips"
    return Table(
        f"Error of masked pixels on the held-out classes{clips}", ("", "mean squared error, standardised"), rows
    )


def of_stage1(result: Stage1, loss: str) -> Table:
    """Table 3: the paper's losses beside ours, by frame and overall."""
    ours = {"fine-tuned": result.fine_tuned, "not fine-tuned": result.baseline}
    controls = result.controls
    measured: list[Reconstruction] = [*ours.values(), *controls.values()]
    published = list(paper.RECONSTRUCTION) if loss == LOSSES[0] else []
    ticks = sorted({*paper.TICKS, *chain.from_iterable(item.by_tick.get(loss, {}) for item in measured)})
    rows = [
        Row(
            f"frame {tick}",
            [
                *(number(paper.RECONSTRUCTION[name].get(tick)) for name in published),
                *(show(item.by_tick.get(loss, {}).get(tick)) for item in measured),
                NOTHING,
            ],
        )
        for tick in ticks
    ]
    overall = [number(paper.RECONSTRUCTION_OVERALL[name]) for name in published]
    overall += [show(item.overall.get(loss)) for item in measured]
    rows.append(Row("all frames", [*overall, show(result.paired.get(loss))]))
    groups = [("", 1), ("paper", len(published)), ("ours", 2), ("controls", len(controls)), ("ours, paired", 1)]
    columns = ("", *published, *ours, *map(name_of, controls), "difference")
    clips = result.fine_tuned.clips
    caption = f"{LOSS_NAMES[loss].capitalize()}, of masked pixels of held-out clips"
    return Table(
        caption if clips is None else f"{caption}; {clips:,} clips",
        columns,
        rows,
        [group for group in groups if group[1]],
    )


def of_stage2(result: Stage2) -> Table:
    """Accuracies in percent: the paper's, ours, and controls."""
    rows = [
        Row(f"paper: {name}", (percent_of(top1), percent_of(top5), *[NOTHING] * (len(_SCORES) - 2)), "paper")
        for name, top1, top5 in paper.CLASSIFICATION
    ]
    rows += [Row(f"ours: {name}", _scores(score)) for name, score in result.scores.items()]
    rows += [Row(f"control: {name_of(name)}", _scores(score), "control") for name, score in result.controls.items()]
    caption = (
        f"Accuracy in % over {result.classes} labels; {result.train_clips:,} clips for training, "
        f"{result.test_clips:,} for the test"
    )
    return Table(caption, ("", *_SCORES), rows)


def of_ablation(rows: Iterable[AblationRow]) -> Table:
    """The ablation of SPT and masking."""
    return Table(
        "Ablation: Shifted Patch Tokenization and masking, in %",
        ("", *_SCORES, "steps", "seconds"),
        [
            Row(
                ("SPT" if row.spt else "no SPT")
                + (", masked" if row.masked else ", unmasked")
                + ("" if row.pretrained else ", not pre-trained"),
                (*_scores(row.score), count(row.steps), number(row.seconds, 1)),
            )
            for row in rows
        ],
    )


def of_few_shot(result: Evaluate) -> Table:
    """Few-shot accuracies by shots, and paired differences from the first method where they were measured."""
    methods = result.methods.values()
    shots = list(dict.fromkeys(chain.from_iterable(method.few_shot for method in methods)))
    compared = [shot for shot in shots if any(shot in method.differences for method in methods)]
    rows = [
        Row(
            name_of(name),
            (
                *(percent(method.few_shot.get(shot)) for shot in shots),
                *(percent(method.differences.get(shot)) for shot in compared),
                count(method.episodes),
            ),
        )
        for name, method in result.methods.items()
    ]
    chance = [f"{100 / result.way:.1f}"] * len(shots)
    rows.append(Row("control: chance", [*chance, *[NOTHING] * (len(compared) + 1)], "control"))
    first = name_of(next(iter(result.methods), ""))
    groups = [("", 1), ("accuracy", len(shots)), (f"less {first}, paired", len(compared)), ("", 1)]
    columns = ("", *map(shots_of, [*shots, *compared]), "episodes")
    caption = f"Few-shot accuracy in % on {result.classes:,} held-out classes"
    return Table(caption, columns, rows, groups if compared else ())


def of_instances(result: Evaluate) -> Table:
    """Few-shot accuracies by instance."""
    numbers = sorted({k for method in result.methods.values() for k in method.instances})
    rows = [
        Row(name_of(name), [percent(method.instances.get(k)) for k in numbers])
        for name, method in result.methods.items()
    ]
    rows.append(Row("control: chance", [f"{100 / result.way:.1f}"] * len(numbers), "control"))
    return Table("Accuracy in % at the k-th instance of a class", ("k", *map(str, numbers)), rows)


def of_learners(learners: Mapping[str, Learner]) -> Table:
    """The training of the few-shot learners."""
    rows = [
        Row(
            name_of(name),
            (
                count(learner.steps),
                number(learner.loss_first),
                number(learner.loss_last),
                percent(learner.accuracy_last),
                percent(learner.validation_1shot),
                percent(learner.validation_last),
            ),
        )
        for name, learner in learners.items()
    ]
    measures = ("steps", "first loss", "last loss", "last accuracy, %", "1-shot, %", "last round, %")
    groups = [("", 1), ("training", 4), ("validation classes", 2)]
    return Table("Training of embeddings and learners", ("", *measures), rows, groups)


def of_runs(records: Iterable[Record]) -> Table:
    """Machine, time and identity of the runs."""
    rows = []
    for record in records:
        described = record.description
        machine = _machine(described)
        compiled = {True: "yes", False: "no"}.get(described.get("compiled", NOTHING), NOTHING)
        rate, wait, mfu = (record.rates.get(name) for name in ("clips_per_s", "wait_share", "mfu"))
        cells = (
            record.state,
            machine or "not recorded",
            str(described.get("torch", "not recorded")),
            compiled,
            str(described.get("time", "not recorded")),
            record.duration or "not recorded",
            count(record.steps),
            number(rate, 1),
            percent(wait),
            percent(mfu),
            record.fingerprint or "not recorded",
        )
        rows.append(Row(record.name, cells))
    return Table(
        "Runs",
        ("", "params", "machine", "torch", "compiled", "started", "time", "steps", "clips/s", "wait for data, %",
         "MFU, %", "fingerprint"),
        rows,
        texts=("params", "machine", "torch", "compiled", "started", "fingerprint"),
    )  # fmt: skip


def _machine(described: Mapping[str, Any]) -> str:
    """Device, processes and threads of a run as text; empty if none is recorded."""
    parts = [str(described["device"])] if "device" in described else []
    for one, many in (("process", "processes"), ("thread", "threads")):
        found = described.get(many)
        if isinstance(found, int):
            parts.append(f"{found} {one if found == 1 else many}")
    return ", ".join(parts)


def flat(values: Mapping[str, Any], prefix: str = "") -> list[Row]:
    """Every value of a metrics file by its dotted key, as JSON."""
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            rows += flat({str(place): item for place, item in enumerate(value)}, f"{prefix}{key}.")
        else:
            rows.append(Row(f"{prefix}{key}", (json.dumps(value),)))
    return rows


def percent_of(value: float | None) -> str:
    """One of the paper's percentages as it is published."""
    return NOTHING if value is None else f"{value:g}"


def _scores(score: Score) -> list[str]:
    return [
        percent(score.top1),
        percent(score.top5),
        percent(score.top1_any),
        percent(score.top5_any),
        *(percent(value) for value in (score.macro_f1, score.f1_multilabel, score.micro_f1)),
    ]


def _kind(ours: bool) -> Literal["ours", "control"]:
    return "ours" if ours else "control"
