"""The video transformer encoder: tokens with positions through timm's blocks, all of them or the visible ones."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from training.models.patches import CubeEmbedding, ShiftedPatchTokenization
from training.models.positions import FixedPositions, LearnedPositions

_TOKENIZERS = {"cube": CubeEmbedding, "spt": ShiftedPatchTokenization}
_POSITIONS = {"fixed": FixedPositions, "learned": LearnedPositions}


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of an encoder; `num_frames` and `image_size` are what it is fed."""

    num_frames: int = 16
    image_size: int = 64
    tubelet: int = 2
    patch: int = 8
    tokenizer: Literal["cube", "spt"] = "cube"
    dim: int = 192
    depth: int = 6
    heads: int = 3
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    positions: Literal["fixed", "learned"] = "fixed"
    class_token: bool = False
    norm: bool = True  # a LayerNorm after the last block
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if self.num_frames % self.tubelet or self.image_size % self.patch:
            raise ValueError(
                f"{self.num_frames} frames of {self.image_size} pixels do not divide into cubes of "
                f"{self.tubelet}x{self.patch}x{self.patch}"
            )
        if self.dim % self.heads:
            raise ValueError(f"a width of {self.dim} does not divide among {self.heads} heads")

    @property
    def times(self) -> int:
        """Tokens along time."""
        return self.num_frames // self.tubelet

    @property
    def places(self) -> int:
        """Tokens of one time."""
        return (self.image_size // self.patch) ** 2

    @property
    def patch_dim(self) -> int:
        """Pixel values of one patch."""
        return self.tubelet * self.patch**2 * 3


def blocks(dim: int, depth: int, heads: int, mlp_ratio: float, qkv_bias: bool, drop_path: float = 0.0) -> nn.ModuleList:
    """Pre-norm transformer blocks (timm's, with scaled_dot_product_attention); stochastic depth grows with depth."""
    rates = torch.linspace(0, drop_path, depth).tolist()
    norm = partial(nn.LayerNorm, eps=1e-6)
    return nn.ModuleList(
        Block(dim, heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, drop_path=rate, norm_layer=norm) for rate in rates
    )


class Encoder(nn.Module):
    """Video `(B, 3, T, H, W)` -> tokens `(B, n, dim)`; a class token, if there is one, comes first."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = _TOKENIZERS[config.tokenizer](config.tubelet, config.patch, config.dim)
        self.positions = _POSITIONS[config.positions](config.times, config.places, config.dim)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim)) if config.class_token else None
        self.blocks = blocks(config.dim, config.depth, config.heads, config.mlp_ratio, config.qkv_bias, config.drop_path)
        self.norm = nn.LayerNorm(config.dim, eps=1e-6) if config.norm else nn.Identity()
        self.apply(init_weights)
        if self.class_token is not None:
            nn.init.trunc_normal_(self.class_token, std=0.02)

    def forward(self, video: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode all tokens, or those where `mask` `(B, N)` is False.

        Raises:
            ValueError: the video has another shape than the config.
        """
        expected = (3, self.config.num_frames, self.config.image_size, self.config.image_size)
        if tuple(video.shape[1:]) != expected:
            raise ValueError(f"the model takes videos of {expected} (C, T, H, W), not {tuple(video.shape[1:])}")
        patches = self.tokenizer.lay_out(video, mask)
        positions = self.positions().expand(len(video), -1, -1)
        if mask is not None:
            patches, positions = keep(patches, ~mask), keep(positions, ~mask)
        tokens = self.tokenizer(patches) + positions
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(video), -1, -1), tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


def keep(tokens: Tensor, chosen: Tensor) -> Tensor:
    """The tokens `(B, N, D)` where `chosen` `(B, N)` is True, in order; every row keeps the same number."""
    return tokens[chosen].reshape(len(tokens), -1, tokens.shape[-1])


def init_weights(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, as in MAE."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
