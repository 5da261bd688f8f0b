"""Class means with a prior that is learned from class names, as prototypes."""

import math

import torch
from torch import Tensor, nn

from training.fewshot.head import Head
from training.fewshot.protonet import class_means, prototype_logits


class TextPrototypeHead(Head):
    """Logits are negative squared distances to prototypes, each between its class's clips and its class's name.

    The prototype of a class with n clips in the support is (k p + their sum) / (k + n), where p is a linear map of the name's
    vector: the mean of a Gaussian after n observations, with prior mean p and the weight of k clips. The map is trained on names
    of training classes alone. AM3 (Xing et al. 2019, arXiv 1902.07104) mixes name and clips too, by a share that does not
    depend on n.

    Names tell which class has which label, so the first round, without any clip, can be right above chance: that is zero-shot
    recognition. Without names (see `Head.named`) prototypes are class means.

    Args:
        name: values of a name's vector.
        embedding: values of an embedding, E.
        weight: initial k; learned.
        scale: initial factor on distances; learned.
    """

    def __init__(self, name: int, embedding: int, *, weight: float, scale: float) -> None:
        super().__init__()
        self.prior = nn.Linear(name, embedding)
        self.log_weight = nn.Parameter(torch.tensor(math.log(weight)))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`."""
        return self.scale * prototype_logits(class_means(support, labels), queries)

    def named(self, names: Tensor) -> Head:
        """See `Head.named`."""
        return _NamedPrototypes(self.prior(names), self.log_weight.exp(), self.scale)


class _NamedPrototypes(Head):
    """`TextPrototypeHead` with prior means (B, way, E), the weight k and the scale of its episodes."""

    def __init__(self, prior: Tensor, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.prior, self.weight, self.scale = prior, weight, scale

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`."""
        counts = labels.sum(1).unsqueeze(2)  # (B, way, 1)
        sums = labels.transpose(1, 2) @ support
        prototypes = (self.weight * self.prior + sums) / (self.weight + counts)
        return self.scale * prototype_logits(prototypes, queries)
