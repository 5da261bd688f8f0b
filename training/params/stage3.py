"""The section `stage3`."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from common.params import Count, Fraction, Positive, Range
from training.params.heads import (
    NAMED_HEADS,
    Adapter,
    ClassText,
    GradientSteps,
    HeadName,
    InContextTransformer,
    Memory,
    Scale,
    StackedLSTM,
    TemporalAlignment,
    TemporalRelations,
)
from training.params.optimiser import Optimiser

FeatureKind = Literal["mean", "change"]
EncoderName = Literal["pretrained", "random", "finetuned", "scratch"]
END_TO_END: tuple[EncoderName, ...] = ("finetuned", "scratch")
"""Encoders that are trained, together with the head, from episodes; the others are frozen."""
UNTRAINED = "untrained"
"""The method of which nothing is trained but the encoder."""


@dataclass(frozen=True)
class EndToEnd:
    """Training of encoder, embedding and head together; a step takes `batch` episodes.

    Args:
        instances: clips of each class in a training episode; at most those of `Stage3`.
        micro_batch: windows that are encoded at a time, whose activations memory must hold; None: all of a step, which saves a
            second forward pass.
        class_weight: factor on the loss of classifying the episodes' clips into the training classes.
        finetuned: optimiser of an encoder that is pre-trained.
        scratch: optimiser of an encoder that is not.
    """

    instances: Annotated[int, Range(2, 100)]
    micro_batch: Positive | None
    class_weight: Annotated[float, Range(0.0, 100.0)]
    finetuned: Optimiser
    scratch: Optimiser


@dataclass(frozen=True)
class ShortEpisodes:
    """The episodes that a head trains on first.

    Args:
        instances: clips of each class; at most those of `Stage3`.
        share: of the head's steps.
    """

    instances: Annotated[int, Range(2, 100)]
    share: Fraction


@dataclass(frozen=True)
class Stage3:
    """Few-shot learners on features of an encoder.

    Args:
        methods: that are trained and evaluated, each HEAD_ENCODER or `untrained`.
        windows: of each clip; its embedding is the mean of theirs.
        features: of a window: `mean`, the mean of all tokens; `change`, how the tokens of each place change over time.
        feature_grid: places along each side that are kept of `change`.
        validation_classes: of the training classes, left out of training and measured instead.
        label_share: of the clips of the other training classes that have labels.
        views: embeddings of each training clip, with dropout, that the heads train on.
        embedding_optimiser: of the embedding, which classifies the training classes; a step takes `batch` clips.
        short_episodes: the episodes that the heads train on first.
        optimiser: of the heads; a step takes `batch` episodes.
    """

    methods: tuple[str, ...]
    way: Annotated[int, Range(2, 100)]
    instances: Annotated[int, Range(2, 100)]
    windows: Positive
    features: FeatureKind
    feature_grid: Positive
    adapter: Adapter
    embedding: Positive
    class_scale: Scale
    label_smoothing: Fraction
    validation_classes: Count
    label_share: Annotated[float, Range(1e-6, 1.0)]
    views: Positive
    embedding_scale: Scale
    memory: Memory
    lstm: StackedLSTM
    transformer: InContextTransformer
    maml: GradientSteps
    anil: GradientSteps
    text: ClassText
    otam: TemporalAlignment
    trx: TemporalRelations
    embedding_optimiser: Optimiser
    short_episodes: ShortEpisodes
    optimiser: Optimiser
    end_to_end: EndToEnd
    seed: Count

    def __post_init__(self) -> None:
        if self.embedding_optimiser.validations:
            raise ValueError("embedding_optimiser.validations is not 0: must be 0, an embedding has none")
        for name, optimiser in (
            ("optimiser", self.optimiser),
            ("end_to_end.finetuned", self.end_to_end.finetuned),
            ("end_to_end.scratch", self.end_to_end.scratch),
        ):
            if optimiser.validations and not self.validation_classes:
                raise ValueError(f"validation_classes is 0: must be above 0 for {name}.validations")
        for name, instances in (
            ("end_to_end.instances", self.end_to_end.instances),
            ("short_episodes.instances", self.short_episodes.instances),
        ):
            if instances > self.instances:
                raise ValueError(f"{name} is {instances}: must be at most instances, {self.instances}")
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods is {list(self.methods)}: must name at least one, and none twice")
        heads, encoders = get_args(HeadName), get_args(EncoderName)
        known = {UNTRAINED, *(f"{head}_{encoder}" for head in heads for encoder in encoders)}
        unknown = next((name for name in self.methods if name not in known), None)
        if unknown is not None:
            raise ValueError(
                f"methods has {unknown}: must be {UNTRAINED} or HEAD_ENCODER, HEAD one of {', '.join(heads)}, "
                f"ENCODER one of {', '.join(encoders)}"
            )
        tuples = next((name for name in self.methods if name.startswith("trx_")), None)
        if tuples is not None and self.features == "mean":
            raise ValueError(f"methods has {tuples}: must be without trx where features is mean, one vector a window")
        named = next(
            (name for name in self.methods if name.startswith(NAMED_HEADS) and name.endswith(END_TO_END)), None
        )
        if named is not None:
            raise ValueError(
                f"methods has {named}: must be on a frozen encoder, from whose embeddings of classes it learns"
            )
