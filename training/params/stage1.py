"""The section `stage1`."""

from dataclasses import dataclass
from typing import Annotated, Any

from common.params import Count, Positive, Range
from training.params.augmentation import ClipAugmentation
from training.params.optimiser import Optimiser


@dataclass(frozen=True)
class Stage1:
    """Fine-tuning for reconstruction. Windows and masks are those of `Pretrain`.

    Args:
        weights: path, URL or hub name of published weights to start from; None: those that `pretrain` has trained.
        model: the named model of `weights`.
        overrides: of its config.
        drop_path: of the model that is fine-tuned, whatever its weights.
        augment: of the training clips.
        validation: share of the training clips that is not trained on, but measured `validations` times.
        test_clips: clips of the held-out classes that are measured, evenly spread; None: all.
    """

    weights: str | None
    model: str
    overrides: dict[str, Any]
    drop_path: Annotated[float, Range(0.0, 0.99)]
    augment: ClipAugmentation
    validation: Annotated[float, Range(0.0, 0.5)]
    test_clips: Positive | None
    optimiser: Optimiser
    seed: Count

    def __post_init__(self) -> None:
        if self.optimiser.validations and not self.validation:
            raise ValueError("validation is 0: must be above 0 for optimiser.validations")
