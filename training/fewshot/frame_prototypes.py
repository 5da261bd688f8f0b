"""Prototypes of clips whose frame-wise embeddings are averaged over frames: the order of frames plays no part.

This is the baseline that alignment is compared with in few-shot video recognition: TSN++ of Cao et al. 2020 (arXiv 1906.11415),
prototypes of averaged frames of Zhu et al. 2021 (arXiv 2110.12358).
"""

from torch import Tensor
from torch.nn import functional as F

from training.fewshot.head import Head
from training.fewshot.protonet import class_means, prototype_logits


class FramePrototypeHead(Head):
    """Logits are negative squared distances to the class means of clips, each the mean of its frames at unit length."""

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`; embeddings are frame-wise, (B, S, times, E). The mean of a class without support is zero."""
        return prototype_logits(class_means(mean_frame(support), labels), mean_frame(queries))


def mean_frame(embedded: Tensor) -> Tensor:
    """Frame-wise embeddings (..., times, E) -> clips' embeddings of unit length (..., E)."""
    return F.normalize(embedded.mean(-2), dim=-1)
