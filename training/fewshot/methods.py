"""The methods that stage 3 trains and `evaluate` compares: a head on an encoder, named HEAD_ENCODER.

The encoders: `pretrained`, frozen as `pretrain` has trained it; `random`, frozen as initialised; `finetuned`, from the pre-trained
one, and `scratch`, from random weights, both trained end to end with embedding and head.
"""

from dataclasses import dataclass
from typing import get_args

import torch

from training.fewshot.adapter import (
    ClassifiedEmbedding,
    ClipEmbedding,
    Embedding,
    FlatEmbedding,
    FrameEmbedding,
    SpaceTimeAdapter,
)
from training.fewshot.features import FeatureShape
from training.fewshot.heads import HEADS, Inputs, build_head
from training.fewshot.learner import FewShotLearner
from training.params import END_TO_END, NAMED_HEADS, UNTRAINED, EncoderName, HeadName, Stage3


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Args:
        head: the classifier of embeddings.
        encoder: of the features.
        trained: embedding and head are trained where they have parameters; else they stay as initialised.
    """

    head: HeadName
    encoder: EncoderName
    trained: bool = True

    @property
    def name(self) -> str:
        """In params, metrics and checkpoints."""
        return f"{self.head}_{self.encoder}" if self.trained else UNTRAINED

    @property
    def end_to_end(self) -> bool:
        """True if encoder, embedding and head are trained together, in one run."""
        return self.encoder in END_TO_END

    @property
    def inputs(self) -> Inputs:
        """What its head works on."""
        return HEADS[self.head].inputs

    @property
    def trains_embedding(self) -> bool:
        """True if the method works on a trained embedding, which all such methods on a frozen encoder share."""
        return self.trained and self.inputs != "features"

    @property
    def trains_head(self) -> bool:
        """True if the head learns: from embeddings, in a run of its own, where the encoder is frozen."""
        return self.trained and HEADS[self.head].trained

    @property
    def named(self) -> bool:
        """True if the head is told the names of an episode's classes."""
        return self.head in NAMED_HEADS


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *(Method(head, encoder) for head in HEADS for encoder in get_args(EncoderName)),
        Method("mann", "pretrained", trained=False),
    )
}


def embedding_run(encoder: EncoderName) -> str:
    """Name of the run that trains the embedding of an encoder's features."""
    return f"embedding_{encoder}"


def build_embedding(shape: FeatureShape, settings: Stage3) -> FrameEmbedding:
    """A freshly initialised embedding of features of this shape; the same weights for the same seed."""
    torch.manual_seed(settings.seed)
    chosen = settings.adapter
    return FrameEmbedding(
        SpaceTimeAdapter(shape, settings.embedding, width=chosen.width, hidden=chosen.hidden, dropout=chosen.dropout)
    )


def build_classifier(shape: FeatureShape, classes: int, settings: Stage3) -> ClassifiedEmbedding:
    """`build_embedding` with a classifier of so many training classes."""
    return ClassifiedEmbedding(build_embedding(shape, settings), settings.embedding, classes, settings.class_scale)


def build_inputs(inputs: Inputs, shape: FeatureShape, settings: Stage3) -> Embedding:
    """What turns an encoder's features into the inputs of a head, freshly initialised."""
    return FlatEmbedding() if inputs == "features" else head_inputs(build_embedding(shape, settings), inputs)


def head_inputs(embedding: FrameEmbedding | FlatEmbedding, inputs: Inputs) -> Embedding:
    """The embedding, with a mean over time where the head works on clips."""
    return ClipEmbedding(embedding) if inputs == "clips" and isinstance(embedding, FrameEmbedding) else embedding


def build_learner(method: Method, shape: FeatureShape, settings: Stage3) -> FewShotLearner:
    """A method's learner, freshly initialised."""
    return FewShotLearner(build_inputs(method.inputs, shape, settings), build_head(method.head, settings), settings.way)
