"""A classifier on the encoder: pool, normalise, map to classes."""

from dataclasses import replace

from torch import Tensor, nn

from training.models.config import ModelConfig
from training.models.encoder import Encoder


class Classifier(nn.Module):
    """`model(video) -> (B, classes)` logits; with a mask the encoder sees the visible tokens only.

    Raises:
        ValueError: the config names no number of classes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.classes is None:
            raise ValueError("a classifier needs `classes`")
        self.config = config
        self.encoder = Encoder(replace(config, final_norm=False))  # what is pooled is normalised instead
        self.norm = nn.LayerNorm(config.dim, eps=config.last_eps)
        self.dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(config.dim, config.classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, video: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 3, T, H, W), mask (B, N) or None -> (B, classes)."""
        tokens, first = self.encoder(video, mask)
        pooled = first if self.config.pooling == "class_token" else tokens.mean(1)
        out: Tensor = self.head(self.dropout(self.norm(pooled)))
        return out

    def encode(self, video: Tensor) -> Tensor:
        """All tokens of a video, (B, N, D)."""
        tokens: Tensor = self.encoder(video)[0]
        return tokens
