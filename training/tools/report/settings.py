"""Tables 1 and 2 of the paper beside params.yaml."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.params import Optimiser, TrainingParams

_LR_BATCH = 256  # clips that base learning rates are for


@dataclass(frozen=True)
class Setting:
    """A line of a table of settings; values are numbers, texts, or None for `not used`."""

    name: str
    paper: float | str | None
    ours: float | str | None
    note: str = ""

    @property
    def differs(self) -> bool:
        """True where the two values are not the same; numbers may differ by a fiftieth, as rounded steps of epochs do."""
        if isinstance(self.paper, int | float) and isinstance(self.ours, int | float):
            return not math.isclose(self.paper, self.ours, rel_tol=0.02)
        return self.paper != self.ours


def table1(settings: TrainingParams, size: int, clips: int | None) -> Sequence[Setting]:
    """Stage 1's settings.

    Args:
        settings: this project's.
        size: of the clips' frames, pixels.
        clips: of the training classes; None if unknown.
    """
    stage, values = settings.stage1.optimiser, asdict(settings)
    overrides = settings.stage1.overrides if settings.stage1.weights else settings.pretrain.overrides
    no_labels = "for classifiers; a reconstruction has no labels"
    return (
        Setting("input size, pixels", 64, overrides.get("image_size", size)),
        Setting("sampling rate, ticks", 4, settings.pretrain.stride),
        Setting("random erasing", None, _first(values, "stage1.augment.erase")),
        Setting(
            "AutoAugment",
            "rand-m7-mstd0.5-inc1",
            _first(values, "stage1.augment.rand_augment", "stage1.rand_augment"),
        ),
        Setting("layer decay", 0.75, stage.layer_decay),
        Setting("base learning rate, for 256 clips", 0.0024, _base_rate(stage)),
        Setting("drop path", 0.1, _first(values, "stage1.drop_path")),
        Setting("dropout", 0.5, None, "of a classifier's head; a reconstruction has none"),
        Setting("mixup", 0.8, None, no_labels),
        Setting("label smoothing", 0.1, None, no_labels),
        Setting("epochs", 50, _epochs(stage.steps, stage, clips)),
        Setting("warm-up, epochs", 5, _epochs(stage.warmup, stage, clips)),
        Setting("batch, clips", 2, stage.batch),
    )


def table2(settings: TrainingParams, size: int, clips: int | None) -> Sequence[Setting]:
    """Stage 2's settings, of its classifiers; arguments as in `table1`, `clips` of TinyVIRAT's training split."""
    stage, values = settings.stage2, asdict(settings)
    fine = stage.finetune
    mixup = _first(values, "stage2.finetune_augment.mixup")
    return (
        Setting("input size, pixels", 64, stage.overrides.get("image_size", size)),
        Setting("masked share of the clip", 0.8, stage.ratio),
        Setting("random erasing", 0.25, _first(values, "stage2.finetune_augment.erase")),
        Setting("weight decay", 0.005, fine.weight_decay),
        Setting("learning rate", 0.001, fine.lr),
        Setting("stochastic depth", 0.1, stage.overrides.get("drop_path")),
        Setting(
            "mixup, probability",
            0.5,
            None if mixup is None else _first(values, "stage2.finetune_augment.mix_probability"),
        ),
        Setting("mixup, coefficient", 1.0, mixup),
        Setting("label smoothing", 0.1, stage.label_smoothing),
        Setting(
            "epochs",
            50,
            _epochs(fine.steps, fine, clips),
            "10 of pre-training and 10 of fine-tuning for the best result",
        ),
        Setting("warm-up, epochs", 10, _epochs(fine.warmup, fine, clips)),
        Setting("batch, clips", 4, fine.batch),
    )


def _base_rate(optimiser: Optimiser) -> float:
    return optimiser.lr * _LR_BATCH / optimiser.batch


def _epochs(steps: int, optimiser: Optimiser, clips: int | None) -> float | str:
    return f"{steps:,} steps" if not clips else round(steps * optimiser.batch / clips, 2)


def _first(values: dict[str, Any], *keys: str) -> Any:
    """The first of some dotted keys that is set, else None."""
    for key in keys:
        found: Any = values
        for name in key.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None
