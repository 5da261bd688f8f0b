"""The optimiser of a run."""

from dataclasses import dataclass
from typing import Annotated

from common.params import Count, Fraction, Positive, Range


@dataclass(frozen=True)
class Optimiser:
    """AdamW with linear warm-up and a cosine down to zero.

    Args:
        accumulate: parts of a batch whose gradients are computed one after the other, to save memory.
        layer_decay: factor on the learning rate from layer to layer towards the input.
        ema: decay of the moving average of the weights, which is the result of the run.
        validations: measurements on held-out clips, evenly spread over the steps.
        patience: validations without a lower loss after which the run ends, with the best weights.
    """

    steps: Positive
    warmup: Count
    batch: Positive
    lr: Annotated[float, Range(0.0, 10.0)]
    weight_decay: Fraction
    betas: tuple[Fraction, ...]
    clip_norm: Annotated[float, Range(1e-6)]
    accumulate: Positive = 1
    layer_decay: Annotated[float, Range(0.01, 1.0)] | None = None
    ema: Annotated[float, Range(0.0, 0.99999)] | None = None
    validations: Count = 0
    patience: Positive | None = None

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or max(self.betas) >= 1:
            raise ValueError(f"betas is {list(self.betas)}: must be two numbers from 0 to below 1")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate is {self.accumulate}: must divide batch, {self.batch}")
        if self.validations > self.steps:
            raise ValueError(f"validations is {self.validations}: must be at most steps, {self.steps}")
        if self.patience is not None and not self.validations:
            raise ValueError(f"patience is {self.patience}: must be null without validations")
