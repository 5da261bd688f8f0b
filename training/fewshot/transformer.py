"""Few-shot classification in context: a transformer over the support and a query."""

import torch
from torch import Tensor, nn

from training.fewshot.head import Head


class TransformerHead(Head):
    """A transformer encoder without positions whose tokens are embeddings with their labels, queries without.

    Every token attends to the support, and to itself, so queries do not affect each other and the order of the support
    does not matter.

    Args:
        embedding: values of an embedding, E.
        way: classes of an episode.
        width: of the transformer.
        depth: its blocks.
        heads: of its attention.
        scale: initial factor on embeddings; learned.
    """

    def __init__(self, embedding: int, way: int, *, width: int, depth: int, heads: int, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.embed = nn.Linear(embedding, width)
        self.label = nn.Linear(way, width, bias=False)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.output = nn.Linear(width, way)

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`."""
        tokens = torch.cat([self._tokens(support, labels), self._tokens(queries)], 1)
        number, known = tokens.shape[1], support.shape[1]
        hidden = torch.eye(number, dtype=torch.bool, device=tokens.device).logical_not()
        hidden[:, :known] = False
        logits: Tensor = self.output(self.blocks(tokens, mask=hidden)[:, known:])
        return logits

    def _tokens(self, embedded: Tensor, labels: Tensor | None = None) -> Tensor:
        tokens: Tensor = self.embed(self.scale * embedded)
        return tokens if labels is None else tokens + self.label(labels)
