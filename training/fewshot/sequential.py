"""Episodes shown clip by clip, each label one step late, as Santoro et al. (2016) show them; accuracy by instance.

The k-th instance of a class is the k-th clip of it in the sequence. Unlike a round, the first instance can be classified above
chance: a new clip has none of the labels that have occurred. `exclusion_accuracy` is what this alone can give.
"""

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from training.fewshot.episodes import Episodes
from training.fewshot.head import Head

_EPISODES = 50  # of a batch


@dataclass(frozen=True)
class Sequences:
    """A batch of episodes, each one sequence.

    Args:
        clips: positions of clips, (B, S).
        labels: their episode labels, (B, S).
    """

    clips: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.clips)


def to_sequences(episodes: Episodes, generator: Generator) -> Sequences:
    """The clips of each episode in random order, so that a class may come again before another has come at all."""
    clips, labels = episodes.clips.flatten(1), episodes.labels.flatten(1)
    order = torch.rand(clips.shape, generator=generator).argsort(1)
    return Sequences(clips.gather(1, order), labels.gather(1, order))


def instances(labels: Tensor, way: int) -> Tensor:
    """How many clips of its class have come up to each step, that one included: (B, S) -> (B, S), from 1."""
    counts = F.one_hot(labels, way).cumsum(1)
    return counts.gather(2, labels.unsqueeze(2)).squeeze(2)


@torch.no_grad()
def predict_sequences(head: Head, embedded: Tensor, sequences: Sequences, way: int) -> Tensor:
    """The label that a head predicts for every clip, from the clips before it.

    Args:
        head: in eval mode.
        embedded: of all clips, (N, E), on the head's device.
        sequences: of these clips.
        way: classes in an episode.

    Returns:
        (B, S), on the host.
    """
    found = []
    for clips, labels in zip(sequences.clips.split(_EPISODES), sequences.labels.split(_EPISODES), strict=True):
        shown = embedded[clips.to(embedded.device)]
        found.append(head.sequence(shown, F.one_hot(labels, way).to(shown)).argmax(2).cpu())
    return torch.cat(found)


def instance_accuracies(predicted: Tensor, labels: Tensor, way: int) -> Tensor:
    """Share of right predictions at each instance of each episode.

    Args:
        predicted: (B, S).
        labels: (B, S), each class equally often.
        way: classes in an episode.

    Returns:
        (B, S / way), the mean over classes.
    """
    order = instances(labels, way).argsort(dim=1, stable=True)
    hits = (predicted == labels).float().gather(1, order)
    shares: Tensor = hits.unflatten(1, (-1, way)).mean(2)
    return shares


def exclusion_accuracy(way: int) -> Fraction:
    """Expected accuracy at the first instance of one who rules out the labels that have occurred, and guesses among the rest.

    Of the `way` first instances of an episode, one comes when j labels have occurred, for each j from 0 to way - 1: the mean of
    1 / (way - j). It is the most that is possible without knowledge of the labels to come: 137/300, or 45.7%, in 5-way episodes.
    """
    return sum((Fraction(1, way - seen) for seen in range(way)), Fraction()) / way
