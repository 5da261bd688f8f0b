"""Classification by ordered temporal alignment (OTAM: Cao et al. 2020, arXiv 1906.11415) of frame-wise embeddings.

A query with frames l = 1 to L and a support clip with frames m = 1 to M have the cosine distances D(l, m). An alignment takes
every m, from first to last, to an l that from one m to the next stays or grows by one. Its ends are free, because D is padded
with a column of zeros at either side, m = 0 and m = M + 1, in which l may grow. With the relaxed minimum
min_g(x) = -g log sum exp(-x / g) the cost of the best alignment is C(L, M + 1):

    C(l, m) = D(l, m) + min_g(C(l - 1, m - 1), C(l, m - 1))                     for m = 1 to M
    C(l, m) = D(l, m) + min_g(C(l - 1, m - 1), C(l, m - 1), C(l - 1, m))        for m = 0 and m = M + 1
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.fewshot.head import Head


class OTAMHead(Head):
    """Logits are negative alignment costs, averaged over both directions and over the clips of a class; nothing is trained.

    Args:
        gamma: of the relaxed minimum, above 0; the smaller, the closer to the minimum.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`; embeddings are frame-wise. A class without support has the cost of frames at right angles."""
        similarity = torch.einsum("bqle,bsme->bqslm", F.normalize(queries, dim=-1), F.normalize(support, dim=-1))
        distances = 1 - similarity
        there, back = alignment_cost(distances, self.gamma), alignment_cost(distances.transpose(3, 4), self.gamma)
        counts = labels.sum(1, keepdim=True)  # (B, 1, way)
        by_class = (there + back) / 2 @ labels / counts.clamp(min=1)
        frames = queries.shape[2]
        unknown = alignment_cost(queries.new_ones(frames, frames), self.gamma)
        return -torch.where(counts > 0, by_class, unknown)


def alignment_cost(distances: Tensor, gamma: float) -> Tensor:
    """Relaxed cost C(L, M + 1) of the best alignment: distances (..., L, M) -> (...)."""
    cost = torch.zeros_like(distances[..., 0])  # C(l, 0) of all l
    for column in distances.unbind(-1):
        above = F.pad(cost[..., :-1], (1, 0), value=math.inf)
        cost = column - gamma * torch.logaddexp(-cost / gamma, -above / gamma)
    # In column M + 1 the recursion adds up: it can be entered from l straight or diagonally, from L straight only.
    entries = torch.full_like(cost[..., :1], 1.0).expand_as(cost).clone()
    entries[..., :-1] = 2.0
    return -gamma * torch.logsumexp(entries.log() - cost / gamma, -1)
