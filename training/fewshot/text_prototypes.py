"""Prototypes with a prior from class names: the mean of a class is expected where its name says, until clips say otherwise."""

import torch
from torch import Tensor

from training.fewshot.head import Head
from training.fewshot.name_prior import fit_prior
from training.fewshot.protonet import class_means, prototype_logits


class TextPrototypeHead(Head):
    """Logits are negative squared distances to prototypes, each between its class's clips and what its name lets expect.

    The prototype of a class with n clips in the support is (k p + their sum) / (k + n), where p is a linear map of the name's
    vector: see `training.fewshot.name_prior`, by which p and k are learned from the training classes. AM3 (Xing et al. 2019,
    arXiv 1902.07104) mixes names and clips too, by a share that does not depend on n, and is trained by episodes.

    Names tell which class has which label, so the first round, without any clip, can be right above chance: that is zero-shot
    recognition. Without names (see `Head.named`), and before `fit`, prototypes are class means.

    Args:
        names: values of a name's vector, D.
        embedding: values of an embedding, E.
    """

    weight: Tensor
    bias: Tensor
    clips: Tensor

    def __init__(self, names: int, embedding: int) -> None:
        super().__init__()
        for name, shape in (("weight", (names, embedding)), ("bias", (embedding,)), ("clips", ())):
            self.register_buffer(name, torch.zeros(shape))

    def fit(self, names: Tensor, embedded: Tensor, classes: Tensor) -> float:
        """Learn the prior from the training classes.

        Args:
            names: vectors of the classes' names, (C, D).
            embedded: their clips, (N, E).
            classes: class of each clip, (N,), from 0.

        Returns:
            The share of the variance between classes that is predicted from the names of other classes.
        """
        prior = fit_prior(names, embedded, classes)
        self.weight.copy_(prior.weight)
        self.bias.copy_(prior.bias)
        self.clips.fill_(prior.clips)
        return prior.explained

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`."""
        return prototype_logits(class_means(support, labels), queries)

    def named(self, names: Tensor) -> Head:
        """See `Head.named`."""
        return _NamedPrototypes(names @ self.weight + self.bias, self.clips)


class _NamedPrototypes(Head):
    """`TextPrototypeHead` in episodes whose classes are expected at `prior`, (B, way, E), each worth so many clips."""

    def __init__(self, prior: Tensor, clips: Tensor) -> None:
        super().__init__()
        self.prior, self.clips = prior, clips

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`."""
        counts = labels.sum(1).unsqueeze(2)  # (B, way, 1)
        sums = labels.transpose(1, 2) @ support
        known = (self.clips + counts).clamp(min=1e-6)  # where nothing is, the prototype is zero
        return prototype_logits((self.clips * self.prior + sums) / known, queries)
