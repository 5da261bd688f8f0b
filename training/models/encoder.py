"""The encoder: a vision transformer over the visible tokens of a video."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.models.blocks import Block, FactorisedBlock, initialise
from training.models.config import ModelConfig
from training.models.masking import visible_index
from training.models.positions import positions
from training.models.spt import ShiftedPatchTokenization
from training.models.tubelets import CubeEmbedding


class Encoder(nn.Module):
    """Video (B, 3, T, H, W) and mask (B, N) -> tokens (B, K, D), without masked tokens and without the class token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed: nn.Module = CubeEmbedding(config.grid, config.dim)
        if config.tokenizer == "spt":
            self.embed = ShiftedPatchTokenization(
                config.grid, config.dim, config.spt_copies, blank_masked=config.spt_blank
            )
        self.positions = positions(config.positions, config.grid, config.dim, config.pretrained_grid)
        self.class_token = nn.Parameter(torch.zeros(config.dim)) if config.class_token else None
        self.class_position = nn.Parameter(torch.zeros(config.dim)) if config.class_position else None
        rates = np.linspace(0, config.drop_path, config.depth).tolist()
        self.blocks = nn.ModuleList(_block(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.dim, eps=config.eps) if config.final_norm else nn.Identity()
        initialise(self)
        for vector in (self.class_token, self.class_position):
            if vector is not None:
                nn.init.trunc_normal_(vector, std=0.02)

    def forward(self, video: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, K, D) in ascending order, K = N without a mask; and the class token (B, D), if there is one."""
        tokens = self.norm(self.layers(video, mask)[-1])
        return (tokens, None) if self.class_token is None else (tokens[:, 1:], tokens[:, 0])

    def layers(self, video: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """What goes into the first block and comes out of each, the class token first if there is one: depth + 1 tensors."""
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
        found = [tokens]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    @torch.no_grad()
    def attention(self, video: Tensor, layer: int = -1) -> Tensor:
        """The attention map of one block, (B, heads, N, N), the class token first if there is one."""
        block = self.blocks[layer]
        if not isinstance(block, Block):
            raise ValueError("factorised attention has no single map")
        before = self.layers(video)[:-1][layer]
        return block.attn.weights(block.norm1(before))


def _block(config: ModelConfig, drop_path: float) -> nn.Module:
    options: dict[str, Any] = {"mlp_ratio": config.mlp_ratio, "bias": config.bias, "eps": config.eps}
    options |= {"drop_path": drop_path, "local": config.local_attention}
    if config.factorised_attention:
        return FactorisedBlock(config.grid.times, config.dim, config.heads, **options)
    return Block(config.dim, config.heads, **options)
