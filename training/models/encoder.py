"""The encoder: a vision transformer over the visible tokens of a video."""

import numpy as np
import torch
from torch import Tensor, nn

from training.models.blocks import Block, FactorisedBlock, initialise
from training.models.config import ModelConfig
from training.models.positions import DistanceBias, RotaryPositions, Rotation, create_positions, positions_at
from training.models.spt import ShiftedPatchTokenization
from training.models.tubelets import TokenSplit, TubeletEmbedding

LayerPatterns = dict[str, str]
"""Regular expressions for parameter names, as timm's `group_matcher` returns them."""
ENCODER_LAYERS: LayerPatterns = {
    "stem": r"^encoder\.(?:embed|positions|class_token|class_position)",
    "blocks": r"^encoder\.blocks\.(\d+)",
}


class Encoder(nn.Module):
    """`tokens, class_token = encoder(video, split)`: encodes all tokens, or the visible ones of `split`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = _embedding(config)
        self.positions: nn.Module | None = None
        self.rotary: RotaryPositions | None = None
        if config.positions == "rotary_3d":
            self.rotary = RotaryPositions(config.grid, config.dim // config.heads)
        else:
            self.positions = create_positions(config.positions, config.grid, config.dim, config.pretrained_grid)
        self.distance = DistanceBias(config.grid, config.heads) if config.distance_bias == "both" else None
        self.class_token = nn.Parameter(torch.zeros(config.dim)) if config.class_token else None
        self.class_position = nn.Parameter(torch.zeros(config.dim)) if config.class_position else None
        rates = np.linspace(0, config.drop_path, config.depth).tolist()
        self.blocks = nn.ModuleList(_block(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.dim, eps=config.eps) if config.final_norm else nn.Identity()
        self.pooled_norm = nn.LayerNorm(config.dim, eps=config.head_norm_eps) if config.pooled_norm else None
        initialise(self)
        for vector in (self.class_token, self.class_position):
            if vector is not None:
                nn.init.trunc_normal_(vector, std=0.02)

    def split_tokens(self, video: Tensor, mask: Tensor | TokenSplit) -> TokenSplit:
        """Visible and masked tokens of `video`, on its device, by `mask` (B, N) bool, True = masked.

        A split on the video's device, computed before by `TokenSplit.of`, is returned as it is: without a check of its
        values there is nothing that the host has to read, so that `torch.compile` can trace the whole model.

        Raises:
            ValueError: the mask does not fit the video; its rows mask different numbers of tokens, all or none; or
                the model has factorised attention and the mask is not a tube mask.
        """
        if isinstance(mask, TokenSplit):
            return mask
        grid = self.config.grid
        split = TokenSplit.of(mask, len(video), grid)
        if self.config.factorised_attention:
            by_time = torch.unflatten(mask, 1, (grid.time_patches, -1))
            if (by_time != by_time[:, :1]).any():
                raise ValueError("a mask differs between time patches: factorised attention needs masking: tube")
        return split.to(video.device)

    def forward(self, video: Tensor, split: TokenSplit | None = None) -> tuple[Tensor, Tensor | None]:
        """Encode `video` (B, 3, T, H, W).

        Returns:
            Tokens (B, K, D) in ascending order, K = N without a split; and the class token (B, D), None without one.

        Raises:
            ValueError: the video has another shape than the config's, or values that are not finite.
        """
        tokens, relative = self._block_input(video, split), self._relative(split)
        for block in self.blocks:
            tokens = block(tokens, *relative)
        tokens = self.norm(tokens)
        return (tokens, None) if self.class_token is None else (tokens[:, 1:], tokens[:, 0])

    def encode(self, video: Tensor) -> Tensor:
        """All tokens of an unmasked video, (B, N, D)."""
        tokens: Tensor = self(video)[0]
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """One vector per clip from the tokens that `encode` returns: (B, N, D) -> (B, D), their mean, normalised if trained so."""
        mean = tokens.mean(1)
        return mean if self.pooled_norm is None else self.pooled_norm(mean)

    def hidden_states(self, video: Tensor, split: TokenSplit | None = None) -> list[Tensor]:
        """Input of the first block and output of every block: depth + 1 tensors (B, K, D), a class token first.

        Raises:
            ValueError: as `forward`.
        """
        states, relative = [self._block_input(video, split)], self._relative(split)
        for block in self.blocks:
            states.append(block(states[-1], *relative))
        return states

    @torch.no_grad()
    def attention_map(self, video: Tensor, layer: int = -1) -> Tensor:
        """Attention weights of one block, (B, heads, N, N), rows are queries; a class token comes first.

        Raises:
            ValueError: attention is factorised, so there is no weight for every pair of tokens.
        """
        block = self.blocks[layer]
        if not isinstance(block, Block):
            raise ValueError("factorised attention has no map over all pairs of tokens")
        layer_input = self.hidden_states(video)[:-1][layer]
        return block.attn.weights(block.norm1(layer_input), *self._relative(None))

    def _block_input(self, video: Tensor, split: TokenSplit | None) -> Tensor:
        """Input of the first block: tokens with their positions (unless rotary), a class token first."""
        self.config.grid.check(video)
        tokens: Tensor = self.embed(video, split)
        if self.positions is not None:
            positions = self.positions()
            tokens = tokens + (positions if split is None else positions_at(positions, split.visible))
        if self.class_token is not None:
            first = self.class_token if self.class_position is None else self.class_token + self.class_position
            tokens = torch.cat([first.expand(len(tokens), 1, -1).to(tokens.dtype), tokens], 1)
        return tokens

    def _relative(self, split: TokenSplit | None) -> tuple[Rotation | None, Tensor | None] | tuple[()]:
        """Arguments of a block besides the tokens: their rotation, and the bias by their distances."""
        if self.config.factorised_attention:  # has neither
            return ()
        index = None if split is None else split.visible
        return (
            None if self.rotary is None else self.rotary(index),
            None if self.distance is None else self.distance(index),
        )


def _embedding(config: ModelConfig) -> TubeletEmbedding | ShiftedPatchTokenization:
    if config.tokenizer == "tubelet":
        return TubeletEmbedding(config.grid, config.dim)
    return ShiftedPatchTokenization(
        config.grid, config.dim, config.spt_copies, zero_masked_patches=config.spt_zero_masked
    )


def _block(config: ModelConfig, drop_path: float) -> Block | FactorisedBlock:
    block = Block(
        config.dim,
        config.heads,
        mlp_ratio=config.mlp_ratio,
        bias=config.bias,
        eps=config.eps,
        drop_path=drop_path,
        local=config.local_attention,
    )
    if not config.factorised_attention:
        return block
    return FactorisedBlock(block, config.grid.time_patches, config.dim, config.heads, bias=config.bias, eps=config.eps)
