"""The heads that methods choose from: how each is built from the params, what it works on, whether it is trained."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from training.fewshot.anil import ANILHead
from training.fewshot.head import Head
from training.fewshot.linear import LinearHead
from training.fewshot.lstm import LSTMMemory
from training.fewshot.maml import MAMLHead
from training.fewshot.mann import MANN
from training.fewshot.nearest import NearestMeanHead
from training.fewshot.otam import OTAMHead
from training.fewshot.protonet import PrototypeHead
from training.fewshot.recurrent import RecurrentHead
from training.fewshot.text import vector_length
from training.fewshot.text_prototypes import TextPrototypeHead
from training.fewshot.transformer import TransformerHead
from training.fewshot.trx import TRXHead
from training.params import HeadName, Stage3

Inputs = Literal["clips", "frames", "features"]
"""What a head works on: `frames`, frame-wise embeddings (..., times, E), trained on the training classes; `clips`, their means over
time, (..., E); `features`, the encoder's own, flat."""

_RIDGE_PENALTY = 0.1  # on vectors of unit length


@dataclass(frozen=True)
class HeadKind:
    """A head in the registry.

    Args:
        build: a freshly initialised head of these params; random weights are drawn by torch's global generator.
        inputs: what it works on.
        trained: it learns from the training classes, in a run of its own: from episodes or, of `NAMED_HEADS`, from their names.
    """

    build: Callable[[Stage3], Head]
    inputs: Inputs = "clips"
    trained: bool = False


def _mann(settings: Stage3) -> Head:
    memory = settings.memory
    network = MANN(
        settings.embedding + settings.way,
        settings.way,
        rows=memory.rows,
        width=memory.width,
        controller=memory.controller,
        heads=memory.heads,
        decay=memory.decay,
        write=memory.write,
        softmax=memory.softmax,
        key_strength=memory.key_strength,
    )
    return RecurrentHead(network, settings.embedding_scale)


def _lstm(settings: Stage3) -> Head:
    inputs, lstm = settings.embedding + settings.way, settings.lstm
    return RecurrentHead(
        LSTMMemory(inputs, settings.way, units=lstm.units, layers=lstm.layers), settings.embedding_scale
    )


def _transformer(settings: Stage3) -> Head:
    chosen, scale = settings.transformer, settings.embedding_scale
    return TransformerHead(
        settings.embedding, settings.way, width=chosen.width, depth=chosen.depth, heads=chosen.heads, scale=scale
    )


def _maml(settings: Stage3) -> Head:
    return MAMLHead(settings.embedding, settings.way, scale=settings.embedding_scale, **asdict(settings.maml))


def _anil(settings: Stage3) -> Head:
    return ANILHead(settings.embedding, settings.way, scale=settings.embedding_scale, **asdict(settings.anil))


def _text_prototypes(settings: Stage3) -> Head:
    return TextPrototypeHead(vector_length(settings.text), settings.embedding)


def _trx(settings: Stage3) -> Head:
    chosen, scale = settings.trx, settings.embedding_scale
    return TRXHead(settings.embedding, width=chosen.width, cardinalities=chosen.cardinalities, scale=scale)


HEADS: dict[HeadName, HeadKind] = {
    "mann": HeadKind(_mann, trained=True),
    "lstm": HeadKind(_lstm, trained=True),
    "transformer": HeadKind(_transformer, trained=True),
    "maml": HeadKind(_maml, trained=True),
    "anil": HeadKind(_anil, trained=True),
    "prototypes": HeadKind(lambda _: PrototypeHead()),
    "text_prototypes": HeadKind(_text_prototypes, trained=True),
    "otam": HeadKind(lambda settings: OTAMHead(settings.otam.gamma), inputs="frames"),
    "trx": HeadKind(_trx, inputs="frames", trained=True),
    "linear": HeadKind(lambda _: LinearHead(_RIDGE_PENALTY), inputs="features"),
    "nearest_mean": HeadKind(lambda _: NearestMeanHead(), inputs="features"),
}


def build_head(name: HeadName, settings: Stage3) -> Head:
    """A freshly initialised head; the same weights for the same seed."""
    torch.manual_seed(settings.seed)
    return HEADS[name].build(settings)
