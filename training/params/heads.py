"""The heads of `stage3`, and the network that embeds what they classify."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.params import Fraction, Positive, Range

HeadName = Literal[
    "mann",
    "lstm",
    "transformer",
    "maml",
    "anil",
    "prototypes",
    "text_prototypes",
    "otam",
    "trx",
    "linear",
    "nearest_mean",
]
NAMED_HEADS: tuple[HeadName, ...] = ("text_prototypes",)
"""Heads that are told the names of an episode's classes."""
Scale = Annotated[float, Range(0.0, 1000.0)]


@dataclass(frozen=True)
class Adapter:
    """The network that embeds a clip's features.

    Args:
        width: channels of the convolution over space and time.
        hidden: width of the layer before the embedding.
    """

    width: Positive
    hidden: Positive
    dropout: Annotated[float, Range(0.0, 0.9)]


@dataclass(frozen=True)
class Memory:
    """The memory-augmented network.

    Args:
        write: `shared`: every head writes to all least-used rows, as published; `per_head`: to one of its own.
        softmax: of the read weights: `plain`, as published, or `sharpened` by a learned key strength.
    """

    rows: Positive
    width: Positive
    controller: Positive
    heads: Positive
    decay: Fraction
    write: Literal["shared", "per_head"]
    softmax: Literal["plain", "sharpened"]
    key_strength: Scale

    def __post_init__(self) -> None:
        if self.heads > self.rows:
            raise ValueError(f"heads is {self.heads}: must be at most rows, {self.rows}")


@dataclass(frozen=True)
class StackedLSTM:
    units: Positive
    layers: Positive


@dataclass(frozen=True)
class InContextTransformer:
    width: Positive
    depth: Positive
    heads: Positive

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads is {self.heads}: must divide width, {self.width}")


@dataclass(frozen=True)
class GradientSteps:
    """MAML and ANIL.

    Args:
        hidden: width between the two layers.
        steps: on the support of an episode.
        inner_lr: their learning rate.
        rate: `fixed`; or learned, a `scalar` or `per_weight`.
        order: of the gradient through the steps.
    """

    hidden: Positive
    steps: Positive
    inner_lr: Scale
    rate: Literal["fixed", "scalar", "per_weight"]
    order: Literal["first", "second"]


@dataclass(frozen=True)
class ClassText:
    """Vectors of class names, for the head `text_prototypes`.

    Args:
        encoder: folder or hub name of a sentence encoder; None: counts of hashed n-grams.
        ngrams: least and most characters of an n-gram within a word.
        words: most words in a row that count as one n-gram.
        buckets: that n-grams are hashed to, the values of a vector.
    """

    encoder: str | None
    ngrams: tuple[Positive, ...]
    words: Positive
    buckets: Positive

    def __post_init__(self) -> None:
        if len(self.ngrams) != 2 or self.ngrams[0] > self.ngrams[1]:
            raise ValueError(f"ngrams is {list(self.ngrams)}: must be the least and the most characters")


@dataclass(frozen=True)
class TemporalAlignment:
    """The head `otam`; gamma: of the relaxed minimum."""

    gamma: Annotated[float, Range(0.001, 100.0)]


@dataclass(frozen=True)
class TemporalRelations:
    """The head `trx`.

    Args:
        width: of keys and values.
        cardinalities: frames of a tuple, in order; distances of several are added.
    """

    width: Positive
    cardinalities: tuple[Annotated[int, Range(2, 4)], ...]

    def __post_init__(self) -> None:
        if not self.cardinalities or len(set(self.cardinalities)) < len(self.cardinalities):
            raise ValueError(f"cardinalities is {list(self.cardinalities)}: must hold at least one, and none twice")
