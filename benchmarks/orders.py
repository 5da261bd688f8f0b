"""The orders in which episodes are shown, and the heads that the Omniglot benchmark compares in them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Generator, Tensor

from training.fewshot.episodes import Episodes
from training.fewshot.head import Head
from training.fewshot.lstm import LSTMMemory
from training.fewshot.mann import MANN
from training.fewshot.predict import accuracies, predict
from training.fewshot.protonet import PrototypeHead
from training.fewshot.recurrent import Recurrence, RecurrentHead, TwoStepHead
from training.fewshot.sequential import Sequences, instance_accuracies, predict_sequences, to_sequences
from training.fewshot.transformer import TransformerHead

WAY, INSTANCES, EMBEDDING, SCALE = 5, 10, 64, 4.0
Arranged = Episodes | Sequences


@dataclass(frozen=True)
class Order:
    """How an episode is shown, in training and in measurement.

    Args:
        name: in the table.
        arrange: the drawings of episodes in this order.
        classify: logits of a head for embeddings and one-hot labels in this order.
        accuracies: of a head at each instance of each episode, (episodes, instances).
    """

    name: str
    arrange: Callable[[Episodes, Generator], Arranged]
    classify: Callable[[Head, Tensor, Tensor], Tensor]
    accuracies: Callable[[Head, Tensor, Episodes], Tensor]


def in_sequence(head: Head, embedded: Tensor, episodes: Episodes) -> Tensor:
    """Accuracy at each instance of each episode, shown as one sequence, (episodes, instances)."""
    sequences = to_sequences(episodes, Generator().manual_seed(0))
    return instance_accuracies(predict_sequences(head, embedded, sequences, WAY), sequences.labels, WAY)


def in_rounds(head: Head, embedded: Tensor, episodes: Episodes) -> Tensor:
    """Accuracy in each round of each episode, (episodes, instances)."""
    return accuracies(predict(head, embedded, episodes, WAY), episodes)


SEQUENCE = Order("label one step late", to_sequences, lambda head, *batch: head.sequence(*batch), in_sequence)
TWO_STEPS = replace(SEQUENCE, name="label one step late, two steps a clip")  # see `TwoStepHead`
ROUNDS = Order("rounds", lambda episodes, _: episodes, lambda head, *batch: head.rounds(*batch), in_rounds)


class Method(NamedTuple):
    """A row of the table."""

    name: str
    build: Callable[[], Head]
    order: Order


def build_mann() -> Recurrence:
    """The memory of Santoro et al. (2016), with three differences: sharpened read weights, one row per head to write to, and
    256 rows instead of 128, because the 4 heads write 4 x 50 rows in a sequence."""
    inputs = EMBEDDING + WAY
    return MANN(inputs, WAY, rows=256, width=40, controller=200, heads=4, decay=0.95, write="per_head")


def build_lstm() -> Recurrence:
    """Two LSTMs of 200 units."""
    return LSTMMemory(EMBEDDING + WAY, WAY, units=200, layers=2)


def build_transformer() -> Head:
    """Two blocks of 64 values."""
    return TransformerHead(EMBEDDING, WAY, width=64, depth=2, heads=4, scale=SCALE)


METHODS = (
    Method("prototypes", PrototypeHead, SEQUENCE),
    Method("prototypes", PrototypeHead, ROUNDS),
    Method("MANN", lambda: RecurrentHead(build_mann(), SCALE), SEQUENCE),
    Method("LSTM", lambda: RecurrentHead(build_lstm(), SCALE), SEQUENCE),
    Method("MANN", lambda: TwoStepHead(build_mann(), SCALE), TWO_STEPS),
    Method("LSTM", lambda: TwoStepHead(build_lstm(), SCALE), TWO_STEPS),
    Method("transformer", build_transformer, ROUNDS),
    Method("MANN", lambda: RecurrentHead(build_mann(), SCALE), ROUNDS),
    Method("LSTM", lambda: RecurrentHead(build_lstm(), SCALE), ROUNDS),
)
