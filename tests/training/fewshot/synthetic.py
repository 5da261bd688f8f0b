"""Episodes of drawn embeddings on which class means are always right, and training on them."""

import math

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


def draw_sequences(number: int, generator: Generator, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
    """The same in random order, as Santoro et al. (2016) show them: (B, rounds * way, E), and labels (B, rounds * way)."""
    embedded, labels = (drawn.flatten(1, 2) for drawn in draw(number, generator, rounds))
    order = torch.rand(labels.shape, generator=generator).argsort(1)
    return embedded.gather(1, order.unsqueeze(2).expand_as(embedded)), labels.gather(1, order)


def one_hot(labels: Tensor) -> Tensor:
    return F.one_hot(labels, WAY).float()


def fit(
    head: Head, *, steps: int, batch: int, rounds: int, lr: float = 3e-3, seed: int = 0, sequences: bool = False
) -> None:
    """Train a head by AdamW with a cosine schedule, as stage 3 does, on rounds or on sequences."""
    shown, answered = (draw_sequences, head.sequence) if sequences else (draw, head.rounds)
    generator = Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), lr, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        embedded, labels = shown(batch, generator, rounds)
        loss = F.cross_entropy(answered(embedded, one_hot(labels)).flatten(0, -2), labels.flatten())
        optimiser.zero_grad()
        loss.backward()
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
def sequence_accuracy(head: Head) -> list[float]:
    """Accuracy at each instance over 1,000 sequences."""
    embedded, labels = draw_sequences(1000, Generator().manual_seed(99))
    predicted = head.sequence(embedded, one_hot(labels)).argmax(2)
    return [float(share) for share in instance_accuracies(predicted, labels, WAY).mean(0)]
