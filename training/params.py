"""The sections of params.yaml that shape the experiments; params.yaml itself explains each value and where it comes from."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from common.params import Count, Positive, Range, read
from common.sections import SECTIONS
from training.clips import window_span

Rate = Annotated[float, Range(0.0, 10.0)]
Share = Annotated[float, Range(0.0, 1.0)]
T = TypeVar("T")


@dataclass(frozen=True)
class Optimiser:
    """AdamW with linear warm-up and a cosine down to zero."""

    steps: Positive
    warmup: Count
    batch: Positive
    lr: Rate
    weight_decay: Share


@dataclass(frozen=True)
class Pretrain:
    model: str
    overrides: dict[str, Any]
    stride: Positive
    masking: Literal["random", "tube", "frame"]
    ratio: Annotated[float, Range(0.01, 0.99)]
    optimiser: Optimiser
    seed: Count

    def __post_init__(self) -> None:
        if isinstance(self.overrides.get("num_frames"), int):
            window_span(self.overrides["num_frames"], self.stride)


@dataclass(frozen=True)
class Stage1:
    optimiser: Optimiser
    seed: Count


@dataclass(frozen=True)
class Stage2:
    model: str
    overrides: dict[str, Any]
    stride: Positive
    pretrain: Optimiser
    finetune: Optimiser
    ratio: Annotated[float, Range(0.01, 0.99)]
    label_smoothing: Share
    seed: Count


@dataclass(frozen=True)
class Memory:
    rows: Positive
    width: Positive
    controller: Positive
    heads: Positive
    decay: Share


@dataclass(frozen=True)
class Stage3:
    way: Annotated[int, Range(2, 100)]
    instances: Annotated[int, Range(2, 100)]
    windows: Positive
    embedding: Positive
    class_loss: Annotated[float, Range(0.0, 100.0)]
    memory: Memory
    optimiser: Optimiser
    seed: Count


@dataclass(frozen=True)
class Evaluate:
    episodes: Positive
    seed: Count


KINDS = {"pretrain": Pretrain, "stage1": Stage1, "stage2": Stage2, "stage3": Stage3, "evaluate": Evaluate}


@dataclass(frozen=True)
class TrainingParams:
    """Everything in params.yaml that training obeys, checked as a whole."""

    pretrain: Pretrain
    stage1: Stage1
    stage2: Stage2
    stage3: Stage3
    evaluate: Evaluate


def load() -> TrainingParams:
    """Read and check params.yaml in the current folder.

    Raises:
        ParamError: naming the key, the value and what is allowed.
    """
    raw = read(SECTIONS)
    return TrainingParams(**{name: raw.section(name, kind) for name, kind in KINDS.items()})
