"""Classification: an encoder and a linear head on its class token or on the mean of its tokens."""

import torch
from torch import Tensor, nn

from training.models.vit import Encoder, EncoderConfig


class Classifier(nn.Module):
    """Video `(B, 3, T, H, W)` -> logits `(B, classes)`."""

    def __init__(self, config: EncoderConfig, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(config.dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, video: Tensor, mask: Tensor | None = None) -> Tensor:
        """Classify; with a `mask` `(B, N)` only by the visible patches."""
        tokens = self.encoder(video, mask)
        pooled = tokens[:, 0] if self.encoder.class_token is not None else tokens.mean(1)
        logits: Tensor = self.head(self.dropout(self.norm(pooled)))
        return logits

    def encode(self, video: Tensor) -> Tensor:
        """All tokens of `video`: `(B, N, D)`, without the class token."""
        tokens = self.encoder(video)
        return tokens[:, 1:] if self.encoder.class_token is not None else tokens


def freeze(module: nn.Module) -> None:
    """Train a module no further."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def count_parameters(module: nn.Module) -> int:
    """Numbers that training may change."""
    return sum(parameter.numel() for parameter in module.parameters())


def load_encoder(model: Classifier, source: nn.Module) -> None:
    """Copy the encoder of a masked autoencoder into a classifier of the same shape (its class token stays its own)."""
    weights = source.encoder.state_dict()  # type: ignore[operator, union-attr]
    own = model.encoder.state_dict()
    with torch.no_grad():
        model.encoder.load_state_dict({name: weights.get(name, value) for name, value in own.items()})
