"""Almost no inner loop (ANIL: Raghu et al. 2020, arXiv 1909.09157): MAML that adapts the last layer alone."""

from torch import nn

from training.fewshot.maml import GradientHead, Order, Rate


class ANILHead(GradientHead):
    """The two layers of `MAMLHead`, of which the first is the same in all episodes.

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
        trunk = nn.Sequential(nn.Linear(embedding, hidden), nn.GELU())
        network = nn.Linear(hidden, way)
        super().__init__(trunk, network, scale=scale, steps=steps, inner_lr=inner_lr, rate=rate, order=order)
