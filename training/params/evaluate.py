"""The sections `evaluate` and `ablation`."""

from dataclasses import dataclass
from typing import Annotated

from common.params import Count, Positive, Range
from training.params.optimiser import Optimiser
from training.params.stage3 import EndToEnd


@dataclass(frozen=True)
class Evaluate:
    episodes: Positive
    seed: Count


@dataclass(frozen=True)
class Ablation:
    """What the ablation changes in stage 3 and `evaluate`: every arm is trained for every seed and share of labels.

    Args:
        seeds: number of seeds, counted up from that of stage 3.
        label_shares: of the training clips.
        windows: of each clip, as in `Stage3`; so are the views, the optimisers and `end_to_end`.
        episodes: of the evaluation.
    """

    seeds: Positive
    label_shares: tuple[Annotated[float, Range(1e-6, 1.0)], ...]
    windows: Positive
    views: Positive
    embedding_optimiser: Optimiser
    optimiser: Optimiser
    end_to_end: EndToEnd
    episodes: Positive

    def __post_init__(self) -> None:
        if not self.label_shares or sorted(set(self.label_shares)) != list(self.label_shares):
            raise ValueError(f"label_shares is {list(self.label_shares)}: must be rising and not empty")
