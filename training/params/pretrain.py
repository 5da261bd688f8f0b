"""The section `pretrain`, and what it shares with `stage2`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from common.params import Count, Positive, Range
from training.params.augmentation import ClipAugmentation
from training.params.optimiser import Optimiser


@dataclass(frozen=True)
class Autoencoder:
    """A masked autoencoder, the windows that it takes and how they are masked."""

    model: str
    overrides: dict[str, Any]
    stride: Positive
    masking: Literal["random", "tube", "frame"]
    ratio: Annotated[float, Range(0.01, 0.99)]
    decoder_ratio: float | None
    seed: Count

    def __post_init__(self) -> None:
        if self.decoder_ratio not in (None, 0.25, 0.5, 0.75):
            raise ValueError(f"decoder_ratio is {self.decoder_ratio}: must be 0.25, 0.5, 0.75 or null")


@dataclass(frozen=True)
class Pretrain(Autoencoder):
    """Pre-training of the autoencoder of stages 1 and 3.

    Args:
        sources: of the training clips; None: all.
        validation: share of the clips that is not trained on, but measured `validations` times.
        augment: of the training clips.
    """

    sources: tuple[str, ...] | None
    validation: Annotated[float, Range(0.0, 0.5)]
    augment: ClipAugmentation
    optimiser: Optimiser

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimiser.validations and not self.validation:
            raise ValueError("validation is 0: must be above 0 for optimiser.validations")
