"""A classification head on how tokens change over time, for classes that are movements."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.tubelets import Grid, TokenSplit

_PLACES = 4  # along each side of a frame, at most
_EPS = 1e-6


class TemporalHead(nn.Module):
    """Tokens -> logits (B, classes).

    The tokens of each time patch are averaged to 4x4 places, and the mean over time of each place is subtracted, which removes
    the static scene; then a linear layer on each time patch, two residual convolutions along time, the mean and the maximum
    over time, a norm and a linear layer. Masked tokens are left out of all averages.

    Args:
        grid: of the tokens.
        dim: their width.
        classes: number of logits.
        width: channels over time.
        dropout: before the last layer.
    """

    def __init__(self, grid: Grid, dim: int, classes: int, *, width: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self._times, self._side, self._places = grid.time_patches, grid.side, min(_PLACES, grid.side)
        self.each_time = nn.Linear(self._places**2 * dim, width)
        self.along_time = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.norm = nn.LayerNorm(2 * width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(2 * width, classes)
        nn.init.trunc_normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor, split: TokenSplit | None = None) -> Tensor:
        """All tokens (B, N, D), or the visible ones (B, K, D) of `split` -> (B, classes)."""
        channels = F.gelu(self.each_time(self._change(tokens, split))).transpose(1, 2)
        for convolution in self.along_time:
            channels = channels + F.gelu(convolution(channels))
        pooled = torch.cat([channels.mean(2), channels.amax(2)], 1)
        out: Tensor = self.out(self.dropout(self.norm(pooled)))
        return out

    def _change(self, tokens: Tensor, split: TokenSplit | None) -> Tensor:
        """Change over time of each place, divided by its deviation over the clip: (B, times, places * D)."""
        if split is None:
            places = self._average(tokens)
            change = places - places.mean(1, keepdim=True)
        else:
            index = split.visible.unsqueeze(2).expand(-1, -1, tokens.shape[2])
            whole = tokens.new_zeros(len(tokens), split.mask.shape[1], tokens.shape[2]).scatter(1, index, tokens)
            seen = self._average((~split.mask).unsqueeze(2).to(tokens.dtype))  # share of a place's tokens
            places = self._average(whole) / seen.clamp(min=_EPS)
            seen = (seen > 0).to(tokens.dtype)
            change = (places - (places * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)) * seen
        change = change.flatten(2)
        return change / (change.std((1, 2), keepdim=True) + _EPS)

    def _average(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, times, places, D)"""
        maps = tokens.reshape(-1, self._side, self._side, tokens.shape[2]).permute(0, 3, 1, 2)
        pooled = F.adaptive_avg_pool2d(maps, self._places).flatten(2).transpose(1, 2)
        return torch.unflatten(pooled, 0, (len(tokens), self._times))
