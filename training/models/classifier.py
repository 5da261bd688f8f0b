"""A classifier on the encoder: pooling, layer norm and linear layer, or convolutions along time."""

from dataclasses import replace

from torch import Tensor, nn

from training.models.config import ModelConfig
from training.models.encoder import ENCODER_LAYERS, Encoder, LayerPatterns
from training.models.temporal_head import TemporalHead
from training.models.tubelets import TokenSplit


class Classifier(nn.Module):
    """`model(video) -> (B, classes)` logits; with a mask, from the visible tokens only.

    Raises:
        ValueError: the config's `classes` is None.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.classes is None:
            raise ValueError("classes is None: a classifier needs a number of classes")
        self.config = config
        self.encoder = Encoder(
            replace(config, final_norm=False, pooled_norm=False)
        )  # the pooled token is normalised instead
        self.temporal: TemporalHead | None = None
        if config.pooling == "temporal":
            self.temporal = TemporalHead(config.grid, config.dim, config.classes, dropout=config.head_dropout)
            return
        self.norm = nn.LayerNorm(config.dim, eps=config.head_norm_eps)
        self.dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(config.dim, config.classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, video: Tensor, mask: Tensor | TokenSplit | None = None) -> Tensor:
        """Video (B, 3, T, H, W), standardised, and mask (B, N) bool, True = masked, or its split -> logits (B, classes).

        Raises:
            ValueError: the video or the mask does not fit the model; see `Encoder.forward` and `Encoder.split_tokens`.
        """
        split = None if mask is None else self.encoder.split_tokens(video, mask)
        tokens, class_token = self.encoder(video, split)
        if self.temporal is not None:
            logits: Tensor = self.temporal(tokens, split)
            return logits
        pooled = class_token if self.config.pooling == "class_token" else tokens.mean(1)
        out: Tensor = self.head(self.dropout(self.norm(pooled)))
        return out

    def group_matcher(self, *, coarse: bool = False) -> LayerPatterns:  # noqa: ARG002 (timm passes it)
        """The layers of parameters, for timm's layer decay; parameters that match none belong to the head."""
        return ENCODER_LAYERS

    def encode(self, video: Tensor) -> Tensor:
        """All tokens of an unmasked video, (B, N, D)."""
        tokens: Tensor = self.encoder(video)[0]
        return tokens
