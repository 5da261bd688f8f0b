"""The methods that stage 3 trains and `evaluate` compares: a head on embeddings of an encoder's features."""

from dataclasses import dataclass

import torch

from training.fewshot.adapter import ClassifiedEmbedding, ClipEmbedding, FlatEmbedding, SpaceTimeAdapter
from training.fewshot.features import FeatureShape
from training.fewshot.head import Head
from training.fewshot.learner import FewShotLearner
from training.fewshot.linear import LinearHead
from training.fewshot.lstm import LSTMMemory
from training.fewshot.mann import MANN
from training.fewshot.nearest import NearestMeanHead
from training.fewshot.protonet import PrototypeHead
from training.fewshot.recurrent import RecurrentHead
from training.fewshot.transformer import TransformerHead
from training.params import HeadName, MethodName, Stage3

TRAINED_HEADS: tuple[HeadName, ...] = ("mann", "lstm", "transformer")
_RIDGE_PENALTY = 0.1  # on vectors of unit length


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Args:
        name: in params, metrics and checkpoints.
        head: the classifier of embeddings.
        pretrained: features come from the pre-trained encoder; else from the encoder as initialised.
        embedded: the head works on embeddings that are trained on the training classes; else on the features themselves.
        trained: embedding and head are trained where they have parameters; else they stay as initialised.
    """

    name: MethodName
    head: HeadName
    pretrained: bool = True
    embedded: bool = True
    trained: bool = True

    @property
    def trains_embedding(self) -> bool:
        """True if the method needs the trained embedding, which all methods on the same encoder share."""
        return self.embedded and self.trained

    @property
    def trains_head(self) -> bool:
        """True if the method has a run of its own."""
        return self.trained and self.head in TRAINED_HEADS


METHODS: dict[MethodName, Method] = {
    method.name: method
    for method in (
        Method("mann_pretrained", "mann"),
        Method("mann_scratch", "mann", pretrained=False),
        Method("lstm_pretrained", "lstm"),
        Method("transformer_pretrained", "transformer"),
        Method("prototypes_pretrained", "prototypes"),
        Method("prototypes_scratch", "prototypes", pretrained=False),
        Method("linear_pretrained", "linear", embedded=False),
        Method("untrained", "mann", trained=False),
        Method("nearest_mean_pretrained", "nearest_mean", embedded=False),
        Method("nearest_mean_scratch", "nearest_mean", pretrained=False, embedded=False),
    )
}


def embedding_run(*, pretrained: bool) -> str:
    """Name of the run that trains the embedding of an encoder's features."""
    return f"embedding_{'pretrained' if pretrained else 'scratch'}"


def build_embedding(shape: FeatureShape, settings: Stage3) -> ClipEmbedding:
    """A freshly initialised embedding of features of this shape; the same weights for the same seed."""
    torch.manual_seed(settings.seed)
    adapter = settings.adapter
    return ClipEmbedding(
        SpaceTimeAdapter(shape, settings.embedding, width=adapter.width, hidden=adapter.hidden, dropout=adapter.dropout)
    )


def build_classifier(shape: FeatureShape, classes: int, settings: Stage3) -> ClassifiedEmbedding:
    """`build_embedding` with a classifier of so many training classes."""
    return ClassifiedEmbedding(build_embedding(shape, settings), settings.embedding, classes, settings.class_scale)


def build_head(name: HeadName, settings: Stage3) -> Head:
    """A freshly initialised head; the same weights for the same seed."""
    torch.manual_seed(settings.seed)
    way, inputs, scale = settings.way, settings.embedding + settings.way, settings.embedding_scale
    if name == "mann":
        memory = settings.memory
        mann = MANN(
            inputs,
            way,
            rows=memory.rows,
            width=memory.width,
            controller=memory.controller,
            heads=memory.heads,
            decay=memory.decay,
            write=memory.write,
            softmax=memory.softmax,
            key_strength=memory.key_strength,
        )
        return RecurrentHead(mann, scale)
    if name == "lstm":
        return RecurrentHead(LSTMMemory(inputs, way, units=settings.lstm.units, layers=settings.lstm.layers), scale)
    if name == "transformer":
        chosen = settings.transformer
        return TransformerHead(
            settings.embedding, way, width=chosen.width, depth=chosen.depth, heads=chosen.heads, scale=scale
        )
    if name == "prototypes":
        return PrototypeHead()
    return NearestMeanHead() if name == "nearest_mean" else LinearHead(_RIDGE_PENALTY)


def build_learner(method: Method, shape: FeatureShape, settings: Stage3) -> FewShotLearner:
    """A method's learner, freshly initialised."""
    embedding = build_embedding(shape, settings) if method.embedded else FlatEmbedding()
    return FewShotLearner(embedding, build_head(method.head, settings), settings.way)
