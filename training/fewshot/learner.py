"""A few-shot learner: the embedding of clip features, and a head that classifies embeddings by a labelled support."""

from torch import Tensor, nn
from torch.nn import functional as F

from training.fewshot.adapter import Embedding
from training.fewshot.head import Head


class FewShotLearner(nn.Module):
    """`learner(support_features, support_labels, query_features) -> logits`; `learner.rounds` runs whole episodes.

    Args:
        embedding: features (n, windows, times, places, F) -> embeddings (n, E).
        head: classifies the embeddings.
        way: classes in an episode.
    """

    def __init__(self, embedding: Embedding, head: Head, way: int) -> None:
        super().__init__()
        self.embedding, self.head, self.way = embedding, head, way

    def forward(self, support_features: Tensor, support_labels: Tensor, query_features: Tensor) -> Tensor:
        """Classify the queries, independently of each other.

        Args:
            support_features: (B, S, windows, times, places, F).
            support_labels: episode labels, (B, S).
            query_features: (B, Q, windows, times, places, F).

        Returns:
            Logits (B, Q, way).
        """
        support, queries = self.embed(support_features), self.embed(query_features)
        logits: Tensor = self.head(support, self._one_hot(support_labels, support), queries)
        return logits

    def rounds(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Classify each round of an episode with the clips of the earlier rounds, and their labels, as support.

        So logits of the first round are at chance, and those of round k measure accuracy after k - 1 labelled clips per class.

        Args:
            features: (B, rounds, way, windows, times, places, F).
            labels: episode labels, (B, rounds, way).

        Returns:
            Logits (B, rounds, way, way), and the clips' embeddings (B, rounds, way, E).
        """
        embedded = self.embed(features)
        logits: Tensor = self.head.rounds(embedded, self._one_hot(labels, embedded))
        return logits, embedded

    def embed(self, features: Tensor) -> Tensor:
        """(..., windows, times, places, F) -> (..., E)"""
        embedded: Tensor = self.embedding(features.flatten(0, -5)).unflatten(0, features.shape[:-4])
        return embedded

    def _one_hot(self, labels: Tensor, like: Tensor) -> Tensor:
        return F.one_hot(labels, self.way).to(like.dtype)
