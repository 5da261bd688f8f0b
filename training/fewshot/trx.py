"""Temporal-relational cross-transformers (TRX: Perrett et al. 2021, arXiv 2101.06184) on frame-wise embeddings.

A clip is all ordered tuples of its frames; a tuple of n frames is their embeddings, each with its position added, one after the
other. A query's tuple Q_p attends to all tuples S_k of the support of a class, which gives a prototype of the class for Q_p:

    attention   a(k, p) = softmax over k of LN(G S_k) . LN(G Q_p) / sqrt(width)
    prototype   t_p = sum over k of a(k, p) V S_k
    distance    d = mean over p of |t_p - V Q_p|

G and V are linear layers, the same for query and support; LN is layer normalisation. A logit is the negative sum of the distances
of all cardinalities n.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.fewshot.head import Head

_POSITION_SCALE = 0.1  # of the published code


class TRXHead(Head):
    """Logits are negative distances between a query's tuples and the prototypes that each class has for them.

    Args:
        embedding: values of a frame's embedding, E.
        width: of keys and values.
        cardinalities: frames of a tuple, each in a cross-transformer of its own.
        scale: initial factor on embeddings; learned.
    """

    def __init__(self, embedding: int, *, width: int, cardinalities: Sequence[int], scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.transformers = nn.ModuleList(CrossTransformer(embedding, width, number) for number in cardinalities)

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`; embeddings are frame-wise. The prototypes of a class without support are zero.

        Raises:
            ValueError: a clip has fewer frames than a tuple.
        """
        positions = _POSITION_SCALE * sinusoids(queries.shape[2], queries.shape[3]).to(queries)
        support, queries = self.scale * support + positions, self.scale * queries + positions
        distances = [transformer(support, labels, queries) for transformer in self.transformers]
        return -torch.stack(distances).sum(0)


class CrossTransformer(nn.Module):
    """The distances between queries and classes, (B, Q, way), by tuples of one cardinality."""

    def __init__(self, embedding: int, width: int, cardinality: int) -> None:
        super().__init__()
        self.cardinality = cardinality
        self.key = nn.Linear(cardinality * embedding, width)
        self.value = nn.Linear(cardinality * embedding, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """Support (B, S, T, E), one-hot labels (B, S, way) and queries (B, Q, T, E) -> distances (B, Q, way)."""
        known, asked = self._tuples(support), self._tuples(queries)  # (B, S or Q, tuples, cardinality * E)
        keys, values = self.norm(self.key(known)), self.value(known)
        scores = torch.einsum("bqpd,bskd->bqpsk", self.norm(self.key(asked)), keys) * keys.shape[3] ** -0.5
        prototypes = class_attention(scores, labels, values)
        distances: Tensor = torch.linalg.vector_norm(prototypes - self.value(asked).unsqueeze(3), dim=4)
        return distances.mean(2)

    def _tuples(self, frames: Tensor) -> Tensor:
        """(B, n, T, E) -> (B, n, tuples, cardinality * E), in order of time within a tuple."""
        number = frames.shape[2]
        if number < self.cardinality:
            raise ValueError(f"clips have {number} frames: must be at least {self.cardinality}, as tuples have")
        index = torch.combinations(torch.arange(number, device=frames.device), self.cardinality)
        return frames[:, :, index].flatten(3)


def class_attention(scores: Tensor, labels: Tensor, values: Tensor) -> Tensor:
    """Means of the values of each class, weighted by the softmax of scores over the class; zero for a class without support.

    Args:
        scores: of each query's tuples p with the support's tuples k, (B, Q, p, S, k).
        labels: of the support, one-hot (B, S, way).
        values: of the support's tuples, (B, S, k, width).

    Returns:
        (B, Q, p, way, width)
    """
    way = labels.shape[2]
    if not labels.shape[1]:
        return values.new_zeros(*scores.shape[:3], way, values.shape[3])
    # The largest score of each class is subtracted from the class's own.
    by_clip = scores.detach().amax(4).unsqueeze(4)
    members = labels[:, None, None] > 0  # (B, 1, 1, S, way)
    largest = by_clip.masked_fill(~members, -torch.inf).amax(3)  # (B, Q, p, way)
    own = by_clip.new_zeros(()).where(~members, largest.unsqueeze(3)).sum(4)  # (B, Q, p, S)
    weights = (scores - own.unsqueeze(4)).exp()
    by_class = labels[:, :, None, :, None] * values[:, :, :, None]  # (B, S, k, way, width)
    sums = weights.flatten(3).flatten(1, 2) @ by_class.flatten(3).flatten(1, 2)
    totals = weights.sum(4) @ labels.unsqueeze(1)  # (B, Q, p, way)
    sums = sums.unflatten(2, (way, -1)).unflatten(1, scores.shape[1:3])
    means: Tensor = sums / totals.masked_fill(totals == 0, 1).unsqueeze(4)
    return means


def sinusoids(length: int, values: int) -> Tensor:
    """Sinusoidal positions of Vaswani et al. 2017: sine and cosine in turn, (length, values) double precision."""
    rates = 10000 ** (-torch.arange(0, values, 2, dtype=torch.double) / values)
    angles = torch.arange(length).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :values]
