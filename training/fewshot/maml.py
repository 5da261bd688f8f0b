"""Model-agnostic meta-learning (MAML: Finn et al. 2017, arXiv 1703.03400): a few gradient steps on the support of each episode."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from training.fewshot.head import Head

Rate = Literal["fixed", "scalar", "per_weight"]
Order = Literal["first", "second"]
Weights = dict[str, Tensor]
"""The parameters of a module, by name."""


class GradientHead(Head):
    """A network whose logits follow from its weights after gradient steps on the cross entropy of the support.

    The weights before the first step are trained, so that a few steps suffice. Steps start anew for each episode, and no query
    takes part in them. Without support the network answers as it is.

    Args:
        trunk: embeddings (..., E) -> (..., H), the same in all episodes.
        network: (..., H) -> logits (..., way), adapted to each episode; without dropout and batch norms.
        scale: initial factor on embeddings; learned.
        steps: gradient steps.
        inner_lr: learning rate of the steps, Finn et al.'s alpha.
        rate: `fixed`, as published; or learned from `inner_lr` on, as a `scalar` or `per_weight` (Meta-SGD: Li et al. 2017,
            arXiv 1707.09835).
        order: of the gradient with respect to the weights before the first step: `second`, through the steps; or `first`,
            which takes the steps' gradients for constants.
    """

    def __init__(
        self,
        trunk: nn.Module,
        network: nn.Module,
        *,
        scale: float,
        steps: int,
        inner_lr: float,
        rate: Rate,
        order: Order,
    ) -> None:
        super().__init__()
        self.trunk, self.network = trunk, network
        self.scale = nn.Parameter(torch.tensor(scale))
        self.steps, self.order = steps, order
        # One dimension at most, so that the optimiser does not decay them.
        number = sum(weight.numel() for weight in network.parameters())
        rates = torch.full((number,), inner_lr) if rate == "per_weight" else torch.tensor(inner_lr)
        self.rates = nn.Parameter(rates, requires_grad=rate != "fixed")

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`."""
        support, queries = self.trunk(self.scale * support), self.trunk(self.scale * queries)
        logits: Tensor = vmap(self._classify)(support, labels, queries)
        return logits

    def _classify(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """One episode: (S, H), (S, way) and (Q, H) -> logits (Q, way)."""
        weights: Weights = dict(self.network.named_parameters())
        rates = self._rates_by_name(weights)
        for _ in range(self.steps):
            gradient = self._gradient(weights, support, labels)
            weights = {name: weight - rates[name] * gradient[name] for name, weight in weights.items()}
        logits: Tensor = functional_call(self.network, weights, (queries,))
        return logits

    def _gradient(self, weights: Weights, support: Tensor, labels: Tensor) -> Weights:
        """Gradient of the support's mean cross entropy, zero without support."""
        if self.order == "first":
            weights = {name: weight.detach() for name, weight in weights.items()}
            support = support.detach()
        found: Weights = grad(self._loss)(weights, support, labels)
        return found

    def _loss(self, weights: Weights, support: Tensor, labels: Tensor) -> Tensor:
        logits = functional_call(self.network, weights, (support,))
        return -(labels * F.log_softmax(logits, 1)).sum() / max(len(support), 1)

    def _rates_by_name(self, weights: Weights) -> Weights:
        if not self.rates.dim():
            return dict.fromkeys(weights, self.rates)
        parts = self.rates.split([weight.numel() for weight in weights.values()])
        return {name: part.view_as(weight) for (name, weight), part in zip(weights.items(), parts, strict=True)}


class MAMLHead(GradientHead):
    """MAML with two layers, both adapted to each episode.

    Args:
        embedding: values of an embedding, E.
        way: classes of an episode.
        hidden: width between the layers.
        scale, steps, inner_lr, rate, order: as of `GradientHead`.
    """

    def __init__(
        self,
        embedding: int,
        way: int,
        *,
        hidden: int,
        scale: float,
        steps: int,
        inner_lr: float,
        rate: Rate = "fixed",
        order: Order = "second",
    ) -> None:
        trunk, network = self._split(nn.Linear(embedding, hidden), nn.GELU(), nn.Linear(hidden, way))
        super().__init__(trunk, network, scale=scale, steps=steps, inner_lr=inner_lr, rate=rate, order=order)

    @staticmethod
    def _split(first: nn.Linear, activation: nn.Module, second: nn.Linear) -> tuple[nn.Module, nn.Module]:
        """The layers that are the same in all episodes, and those that are adapted."""
        return nn.Identity(), nn.Sequential(first, activation, second)
