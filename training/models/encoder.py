"""The encoder: a vision transformer over the visible tokens of a video."""

import torch
from torch import Tensor, nn

from training.models.blocks import Block, initialise
from training.models.config import ModelConfig
from training.models.cubes import CubeEmbedding
from training.models.masking import visible_index
from training.models.positions import positions
from training.models.spt import ShiftedPatchTokenization


class Encoder(nn.Module):
    """Video (B, 3, T, H, W) and mask (B, N) -> tokens (B, K, D), without masked tokens and without the class token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        tokenizer = {"cubes": CubeEmbedding, "spt": ShiftedPatchTokenization}[config.tokenizer]
        self.embed = tokenizer(config.grid, config.dim)
        self.positions = positions(config.positions, config.grid, config.dim)
        self.class_token = nn.Parameter(torch.zeros(config.dim)) if config.class_token else None
        self.class_position = nn.Parameter(torch.zeros(config.dim)) if config.class_position else None
        rates = torch.linspace(0, config.drop_path, config.depth).tolist()
        self.blocks = nn.ModuleList(
            Block(
                config.dim,
                config.heads,
                mlp_ratio=config.mlp_ratio,
                bias=config.bias,
                eps=config.eps,
                drop_path=rate,
                local=config.local_attention,
            )
            for rate in rates
        )
        self.norm = nn.LayerNorm(config.dim, eps=config.eps) if config.final_norm else nn.Identity()
        initialise(self)
        for vector in (self.class_token, self.class_position):
            if vector is not None:
                nn.init.trunc_normal_(vector, std=0.02)

    def forward(self, video: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, K, D) in ascending order, K = N without a mask; and the class token (B, D), if there is one."""
        self.config.grid.check(video)
        table = self.positions()
        if mask is None:
            tokens = self.embed(video) + table
        else:
            visible = visible_index(mask.to(video.device))
            tokens = self.embed(video, visible) + table[visible]
        if self.class_token is not None:
            first = self.class_token if self.class_position is None else self.class_token + self.class_position
            tokens = torch.cat([first.expand(len(tokens), 1, -1).to(tokens.dtype), tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return (tokens, None) if self.class_token is None else (tokens[:, 1:], tokens[:, 0])
