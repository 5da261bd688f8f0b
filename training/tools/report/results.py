"""The metrics files of the stages as typed values. Fields that older versions lack are None or empty."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import WorkError
from common.paths import METRICS

LOSSES = ("mse_standardised", "bce_pixels")
_NORMALISED = "mse_normalised"  # of models with a normalised target only
FILES = ("pretrain", "stage1", "stage2", "ablation_stage2", "stage3", "evaluate", "ablation")


@dataclass(frozen=True)
class Estimate:
    """A mean with half of its 95% interval; None where it was not a number, or was not measured."""

    mean: float | None
    ci95: float | None = None


@dataclass(frozen=True)
class Pretrain:
    """metrics/pretrain.json; `errors` are those of masked pixels on the held-out classes, by reconstruction."""

    clips: int
    steps: int
    loss_first: float | None
    loss_last: float | None
    test_clips: int | None
    errors: Mapping[str, Estimate]


@dataclass(frozen=True)
class Reconstruction:
    """Errors of a reconstruction by loss: over all ticks, and by tick."""

    clips: int | None
    overall: Mapping[str, Estimate]
    by_tick: Mapping[str, Mapping[int, Estimate]]


@dataclass(frozen=True)
class Stage1:
    """metrics/stage1.json; `paired` is, by loss, the baseline's error less the fine-tuned model's on the same clips."""

    fine_tuned: Reconstruction
    baseline: Reconstruction
    controls: Mapping[str, Reconstruction]
    paired: Mapping[str, Estimate]


@dataclass(frozen=True)
class Score:
    """Of a classifier, as fractions: of the first label, and of any of a clip's labels."""

    top1: Estimate
    top5: Estimate
    top1_any: Estimate
    top5_any: Estimate
    macro_f1: float | None
    f1_multilabel: float | None
    micro_f1: float | None


@dataclass(frozen=True)
class Stage2:
    """metrics/stage2.json; `scores` by `unmasked` and `masked`."""

    classes: int
    train_clips: int
    test_clips: int
    scores: Mapping[str, Score]
    controls: Mapping[str, Score]


@dataclass(frozen=True)
class AblationRow:
    """A line of metrics/ablation_stage2.json."""

    spt: bool
    masked: bool
    pretrained: bool
    score: Score
    steps: int | None
    seconds: float | None


@dataclass(frozen=True)
class Learner:
    """The training of a few-shot learner or of an embedding, and accuracies on validation classes, as fractions."""

    steps: int | None
    loss_first: float | None
    loss_last: float | None
    accuracy_last: float | None
    validation_1shot: float | None
    validation_last: float | None


@dataclass(frozen=True)
class Method:
    """Accuracies of a few-shot method, by instance from 1 and by shots (`5way_1shot`), as fractions.

    `differences` are, by shots, those from the first method in the same episodes.
    """

    instances: Mapping[int, Estimate]
    few_shot: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    episodes: int | None


@dataclass(frozen=True)
class Source:
    """Accuracies in episodes of a source's classes alone, by method and shots, as fractions."""

    name: str
    classes: int
    few_shot: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Evaluate:
    """metrics/evaluate.json."""

    classes: int
    way: int
    methods: Mapping[str, Method]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Arm:
    """An arm of the ablation for a share of labels: accuracies by shots, and their deviations over seeds, as fractions."""

    labels: int
    few_shot: Mapping[str, Estimate]
    deviations: Mapping[str, float | None]


@dataclass(frozen=True)
class Ablation:
    """metrics/ablation.json; `arms` by name and share of labels."""

    way: int
    episodes: int
    seeds: int
    arms: Mapping[str, Mapping[float, Arm]]


@dataclass(frozen=True)
class Results:
    """All metrics of the training stages; None for a stage that has not run. `raw` has the files that exist, by stage."""

    pretrain: Pretrain | None
    stage1: Stage1 | None
    stage2: Stage2 | None
    ablation: tuple[AblationRow, ...] | None
    stage3: Mapping[str, Learner] | None
    evaluate: Evaluate | None
    few_shot_ablation: Ablation | None
    raw: Mapping[str, Mapping[str, Any]]


def read() -> Results:
    """Read metrics/*.json.

    Raises:
        WorkError: there are none, or one is damaged or of another version; the message names it.
    """
    if not any(METRICS.glob("*.json")):
        raise WorkError("metrics/ is empty: run `make evaluate` first")
    files = {name: file for name in FILES if (file := _read(METRICS / f"{name}.json")) is not None}
    return Results(
        pretrain=_pretrain(files["pretrain"]) if "pretrain" in files else None,
        stage1=_stage1(files["stage1"]) if "stage1" in files else None,
        stage2=_stage2(files["stage2"]) if "stage2" in files else None,
        ablation=_ablation(files["ablation_stage2"]) if "ablation_stage2" in files else None,
        stage3={name: _learner(item) for name, item in files["stage3"].items()} if "stage3" in files else None,
        evaluate=_evaluate(files["evaluate"]) if "evaluate" in files else None,
        few_shot_ablation=_few_shot_ablation(files["ablation"]) if "ablation" in files else None,
        raw={name: file.values for name, file in files.items()},
    )


class _Object:
    """A JSON object of a metrics file, read field by field."""

    def __init__(self, path: Path, values: Mapping[str, Any], key: str = "") -> None:
        self._path, self.values, self._key = path, values, key

    def has(self, name: str) -> bool:
        return name in self.values

    def number(self, name: str) -> float | None:
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise self._error(name, f"is {_short(value)}")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        return self.number(name) if self.has(name) else None

    def count(self, name: str) -> int:
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._error(name, f"is {_short(value)}")
        return value

    def optional_count(self, name: str) -> int | None:
        return self.count(name) if self.values.get(name) is not None else None

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._error(name, f"is {_short(value)}")
        return value

    def estimate(self, name: str) -> Estimate:
        """Of the fields `name` and `name`_ci95."""
        return Estimate(self.number(name), self.optional_number(f"{name}_ci95"))

    def optional_estimate(self, name: str) -> Estimate:
        return self.estimate(name) if self.has(name) else Estimate(None)

    def mean(self) -> Estimate:
        """Of the fields `mean` and `ci95`."""
        return Estimate(self.number("mean"), self.optional_number("ci95"))

    def child(self, name: str) -> "_Object":
        value = self._get(name)
        if not isinstance(value, dict):
            raise self._error(name, f"is {_short(value)}")
        return _Object(self._path, value, f"{self._key}{name}.")

    def items(self, name: str | None = None) -> Iterator[tuple[str, "_Object"]]:
        """The objects in this one, or in the field `name` if there is one."""
        if name is not None:
            yield from self.child(name).items() if self.has(name) else ()
            return
        for key, value in self.values.items():
            if isinstance(value, dict):
                yield key, self.child(key)

    def rows(self, name: str) -> Iterator["_Object"]:
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._error(name, "is no list of objects")
        for place, item in enumerate(value):
            yield _Object(self._path, item, f"{self._key}{name}[{place}].")

    def share(self, key: str) -> float:
        """A key that is a share, from 0 to 1."""
        try:
            value = float(key)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise self._error(key, "is no share")
        return value

    def whole(self, key: str) -> int:
        """A key that is a whole number, such as a tick."""
        if not (key.isascii() and key.isdecimal() and len(key) < 10):
            raise self._error(key, "is no whole number")
        return int(key)

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise self._error(name, "is missing")
        return self.values[name]

    def _error(self, name: str, defect: str) -> WorkError:
        return WorkError(
            f"{self._path} has results of another version ({self._key}{_short(name)} {defect}): run its stage again"
        )


def _short(value: object) -> str:
    return repr(value)[:40] if not isinstance(value, str) or len(value) > 40 else value


def _read(path: Path) -> _Object | None:
    try:
        content = json.loads(path.read_bytes(), parse_constant=_not_json)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise WorkError(f"{path} is damaged: run its stage again")
    return _Object(path, content)


def _not_json(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _pretrain(file: _Object) -> Pretrain:
    return Pretrain(
        clips=file.count("clips"),
        steps=file.count("steps"),
        loss_first=file.number("loss_first"),
        loss_last=file.number("loss_last"),
        test_clips=file.optional_count("test_clips"),
        errors={name: item.mean() for name, item in file.items("masked_error")},
    )


def _stage1(file: _Object) -> Stage1:
    return Stage1(
        fine_tuned=_reconstruction(file.child("fine_tuned")),
        baseline=_reconstruction(file.child("baseline")),
        controls={name: _reconstruction(item) for name, item in file.items("controls")},
        paired={loss: item.mean() for loss, item in file.items("paired")},
    )


def _reconstruction(item: _Object) -> Reconstruction:
    losses = [*LOSSES, *([_NORMALISED] if item.has(_NORMALISED) else [])]
    return Reconstruction(
        clips=item.optional_count("clips"),
        overall={loss: item.estimate(loss) for loss in losses},
        by_tick={
            loss: {item.whole(tick): error.mean() for tick, error in item.items(f"{loss}_by_tick")} for loss in losses
        },
    )


def _score(item: _Object) -> Score:
    return Score(
        top1=item.estimate("top1"),
        top5=item.optional_estimate("top5"),
        top1_any=item.optional_estimate("top1_any"),
        top5_any=item.optional_estimate("top5_any"),
        macro_f1=item.optional_number("macro_f1"),
        f1_multilabel=item.optional_number("f1_multilabel"),
        micro_f1=item.optional_number("micro_f1"),
    )


def _stage2(file: _Object) -> Stage2:
    return Stage2(
        classes=file.count("classes"),
        train_clips=file.count("train_clips"),
        test_clips=file.count("test_clips"),
        scores={name: _score(file.child(name)) for name in ("unmasked", "masked")},
        controls={name: _score(item) for name, item in file.items("controls")},
    )


def _ablation(file: _Object) -> tuple[AblationRow, ...]:
    found = [(row, True) for row in file.rows("rows")]
    found += [(file.child("scratch"), False)] if file.has("scratch") else []
    return tuple(
        AblationRow(
            spt=row.flag("spt"),
            masked=row.flag("masked"),
            pretrained=pretrained,
            score=_score(row),
            steps=row.optional_count("steps"),
            seconds=row.optional_number("seconds"),
        )
        for row, pretrained in found
    )


def _learner(item: _Object) -> Learner:
    trained = item.has("steps") or not item.has("validation_last")
    return Learner(
        steps=item.count("steps") if trained else None,
        loss_first=item.number("loss_first") if trained else None,
        loss_last=item.number("loss_last") if trained else None,
        accuracy_last=item.number("accuracy_last") if trained else None,
        validation_1shot=item.optional_number("validation_1shot"),
        validation_last=item.optional_number("validation_last"),
    )


def _evaluate(file: _Object) -> Evaluate:
    return Evaluate(
        classes=file.count("classes"),
        way=file.count("way"),
        methods={name: _method(item) for name, item in file.items() if item.has("instance_accuracy")},
        sources=tuple(
            Source(
                name,
                item.count("classes"),
                {
                    method: {shots: shot.mean() for shots, shot in value.items("few_shot")}
                    for method, value in item.items()
                },
            )
            for name, item in file.items("by_source")
        ),
    )


def _few_shot_ablation(file: _Object) -> Ablation:
    return Ablation(
        way=file.count("way"),
        episodes=file.count("episodes"),
        seeds=file.count("seeds"),
        arms={
            name: {arm.share(share): _arm(result) for share, result in arm.items()} for name, arm in file.items("arms")
        },
    )


def _arm(item: _Object) -> Arm:
    shots = dict(item.items("few_shot"))
    return Arm(
        labels=item.count("labels"),
        few_shot={name: shot.mean() for name, shot in shots.items()},
        deviations={name: shot.optional_number("deviation") for name, shot in shots.items()},
    )


def _method(item: _Object) -> Method:
    accuracy = item.child("instance_accuracy")
    interval = item.child("instance_ci95")
    shots = dict(item.items("few_shot"))
    return Method(
        instances={
            accuracy.whole(key): Estimate(accuracy.number(key), interval.optional_number(key))
            for key in accuracy.values
        },
        few_shot={name: shot.mean() for name, shot in shots.items()},
        differences={name: shot.mean() for name, shot in item.items("difference")},
        episodes=next((shot.optional_count("episodes") for shot in shots.values()), None),
    )
