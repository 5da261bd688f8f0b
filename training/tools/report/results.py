"""The results of the stages as typed values. Fields that older versions of a stage do not write are None or empty."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOSSES = ("mse_standardised", "bce_pixels")


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
