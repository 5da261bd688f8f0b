"""Classification by the distance to each class's mean embedding (prototypical networks: Snell et al. 2017, arXiv 1703.05175)."""

from torch import Tensor

from training.fewshot.head import Head


class PrototypeHead(Head):
    """Logits are negative squared distances to the class means."""

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`. The mean of a class without support is zero."""
        return prototype_logits(class_means(support, labels), queries)


def prototype_logits(prototypes: Tensor, queries: Tensor) -> Tensor:
    """Negative squared distances: (B, way, E) and (B, Q, E) -> (B, Q, way)."""
    return -(queries.unsqueeze(2) - prototypes.unsqueeze(1)).square().sum(3)


def class_means(support: Tensor, labels: Tensor) -> Tensor:
    """Mean embedding of each class, zero without support: (B, S, E) and one-hot labels (B, S, way) -> (B, way, E)."""
    counts = labels.sum(1).unsqueeze(2).clamp(min=1)
    return labels.transpose(1, 2) @ support / counts
