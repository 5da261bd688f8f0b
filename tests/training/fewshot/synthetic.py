"""Episodes of drawn embeddings on which class means are always right, and training on them."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from training.fewshot.head import Head
from training.fewshot.sequential import instance_accuracies

WAY, EMBEDDING, ROUNDS = 5, 16, 6
_NOISE = 0.3  # length of the noise beside unit vectors


def draw(number: int, generator: Generator, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
    """Unit vectors (B, rounds, way, E), noisy copies of a random one per class, and their labels (B, rounds, way)."""
    centres = F.normalize(torch.randn(number, WAY, EMBEDDING, generator=generator), dim=2)
    labels = torch.rand(number, rounds, WAY, generator=generator).argsort(2)
    embedded = centres[torch.arange(number)[:, None, None], labels]
    noise = torch.randn(embedded.shape, generator=generator) / math.sqrt(EMBEDDING)
    return F.normalize(embedded + _NOISE * noise, dim=3), labels


def one_hot(labels: Tensor) -> Tensor:
    return F.one_hot(labels, WAY).float()


def in_one_sequence(embedded: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """The clips of each episode in random order: (B, S, E) and labels (B, S)."""
    embedded, labels = embedded.flatten(1, 2), labels.flatten(1)
    order = torch.rand(labels.shape, generator=generator).argsort(1)
    return embedded.gather(1, order.unsqueeze(2).expand_as(embedded)), labels.gather(1, order)


def fit(head: Head, *, steps: int, batch: int, rounds: int, lr: float = 3e-3, seed: int = 0) -> None:
    """Train a head in rounds by AdamW with a cosine schedule, as stage 3 does."""
    generator = Generator().manual_seed(seed)

    def loss() -> Tensor:
        embedded, labels = draw(batch, generator, rounds)
        return F.cross_entropy(head.rounds(embedded, one_hot(labels)).flatten(0, 2), labels.flatten())

    _minimise(head, loss, steps, lr)


def fit_sequences(head: Head, *, steps: int, batch: int, rounds: int, lr: float = 3e-3, seed: int = 0) -> None:
    """`fit`, on sequences whose labels arrive one step late."""
    generator = Generator().manual_seed(seed)

    def loss() -> Tensor:
        embedded, labels = in_one_sequence(*draw(batch, generator, rounds), generator)
        return F.cross_entropy(head.sequence(embedded, one_hot(labels)).flatten(0, 1), labels.flatten())

    _minimise(head, loss, steps, lr)


def _minimise(head: Head, loss: Callable[[], Tensor], steps: int, lr: float) -> None:
    optimiser = torch.optim.AdamW(head.parameters(), lr, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()


@torch.no_grad()
def accuracy(head: Head, *, shuffled: bool = False) -> list[float]:
    """Accuracy at each instance over 1,000 episodes.

    Args:
        head: the head.
        shuffled: the labels of every round are another random permutation, unrelated to the classes.
    """
    embedded, labels = draw(1000, Generator().manual_seed(99))
    if shuffled:
        labels = torch.rand(labels.shape, generator=Generator().manual_seed(98)).argsort(2)
    hits = head.rounds(embedded, one_hot(labels)).argmax(3) == labels
    return [float(share) for share in hits.float().mean((0, 2))]


@torch.no_grad()
def sequence_accuracy(head: Head, rounds: int) -> list[float]:
    """Accuracy at each instance over 1,000 sequences of so many clips of each class."""
    generator = Generator().manual_seed(99)
    embedded, labels = in_one_sequence(*draw(1000, generator, rounds), generator)
    predicted = head.sequence(embedded, one_hot(labels)).argmax(2)
    return [float(share) for share in instance_accuracies(predicted, labels, WAY).mean(0)]
