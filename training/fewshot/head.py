"""The interface of few-shot classifiers of embeddings."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Head(nn.Module, ABC):
    """A classifier of embeddings that learns its classes from a few labelled ones, the support.

    `head(support, labels, queries) -> logits`; `head.rounds` classifies each round of an episode by the rounds before it, and
    `head.sequence` each clip of a sequence by the clips before it.
    """

    @abstractmethod
    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """Classify queries, independently of each other.

        Args:
            support: embeddings (B, S, E); S may be 0.
            labels: of the support, one-hot (B, S, way).
            queries: embeddings (B, Q, E).

        Returns:
            Logits (B, Q, way).
        """

    def named(self, names: Tensor) -> "Head":  # noqa: ARG002 (heads that use names override it)
        """The head for episodes whose classes have these names; itself unless it makes use of them.

        Args:
            names: vectors of the classes' names (B, way, D), in the order of their labels.
        """
        return self

    def rounds(self, embedded: Tensor, labels: Tensor) -> Tensor:
        """Classify every clip of each round with all clips of the earlier rounds as support.

        Args:
            embedded: (B, rounds, clips, E).
            labels: one-hot (B, rounds, clips, way).

        Returns:
            Logits (B, rounds, clips, way).
        """
        logits = [
            self(embedded[:, :number].flatten(1, 2), labels[:, :number].flatten(1, 2), embedded[:, number])
            for number in range(embedded.shape[1])
        ]
        return torch.stack(logits, 1)

    def sequence(self, embedded: Tensor, labels: Tensor) -> Tensor:
        """Classify every clip of a sequence with all clips before it as support.

        This is the order of Santoro et al. (2016): the label of a clip is known from the next step on. A clip of a class
        that has not occurred can be classified above chance, because the labels that have occurred can be ruled out.

        Args:
            embedded: (B, S, E).
            labels: one-hot (B, S, way).

        Returns:
            Logits (B, S, way).
        """
        logits = [
            self(embedded[:, :step], labels[:, :step], embedded[:, step : step + 1])
            for step in range(embedded.shape[1])
        ]
        return torch.cat(logits, 1)
