"""The transformer block: pre-norm self-attention and a two-layer perceptron, with stochastic depth."""

from typing import Literal

import torch
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.positions import Rotation, rotate

QKVBias = Literal["none", "no_key", "full"]


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        dim: width of the tokens.
        heads: number of heads, a divisor of `dim`.
        bias: of query, key and value; `no_key` is VideoMAE's: query and value only.
        local: locality self-attention (LSA, arXiv 2112.13492): a token does not attend to itself, and each head learns its
            temperature.

    Raises:
        ValueError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, bias: QKVBias, *, local: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"a width of {dim} does not divide into {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias == "full")
        self.q_bias = nn.Parameter(torch.zeros(dim)) if bias == "no_key" else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if bias == "no_key" else None
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), (dim / heads) ** -0.5)) if local else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, rotation: Rotation | None = None, distance: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D).

        Args:
            tokens: (B, N, D).
            rotation: of the tokens, if positions are rotary.
            distance: a bias on the scores, (1 or B, heads, N, N), see `DistanceBias`; not with `local`.
        """
        q, k, v = self._project(tokens, rotation)
        if self.temperature is None:
            mixed = F.scaled_dot_product_attention(
                q, k, v, attn_mask=None if distance is None else distance.to(q.dtype)
            )
        else:
            others = ~torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
            mixed = F.scaled_dot_product_attention(q * self.temperature, k, v, attn_mask=others, scale=1.0)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out

    def weights(self, tokens: Tensor, rotation: Rotation | None = None, distance: Tensor | None = None) -> Tensor:
        """The attention weights, (B, N, D) -> (B, heads, N, N): rows are queries, columns are keys, rows sum to 1."""
        q, k, _ = self._project(tokens, rotation)
        scale = (tokens.shape[2] / self.heads) ** -0.5 if self.temperature is None else self.temperature
        scores = q @ k.transpose(2, 3) * scale
        if distance is not None:
            scores = scores + distance
        if self.temperature is not None:
            scores = scores.masked_fill(torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device), -torch.inf)
        return scores.softmax(3)

    def _project(self, tokens: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (B, heads, N, D / heads)."""
        bias: Tensor | None = self.qkv.bias
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(tokens, self.qkv.weight, bias)
        q, k, v = torch.unflatten(qkv, 2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return (q, k, v) if rotation is None else (rotate(q, rotation), rotate(k, rotation), v)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); `drop_path` is the rate of stochastic depth."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        bias: QKVBias = "full",
        eps: float = 1e-6,
        drop_path: float = 0.0,
        local: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, bias, local=local)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, rotation: Rotation | None = None, distance: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D); see `Attention.forward`."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), rotation, distance))
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return out


class FactorisedBlock(nn.Module):
    """Divided space-time attention (TimeSformer, arXiv 2102.05095).

    Tokens attend along time at their space patch, then within their time patch, which is done by the block `space`.
    """

    def __init__(
        self, space: Block, time_patches: int, dim: int, heads: int, *, bias: QKVBias = "full", eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.time_patches = time_patches
        self.space = space
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.time = Attention(dim, heads, bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T S, D) -> (B, T S, D), ordered by time, with the same S space patches at each of the T times."""
        batch, times = len(tokens), self.time_patches
        along_time = torch.unflatten(tokens, 1, (times, -1)).transpose(1, 2).flatten(0, 1)  # (B S, T, D)
        along_time = along_time + self.space.drop_path(self.time(self.norm(along_time)))
        within_time = torch.unflatten(along_time, 0, (batch, -1)).transpose(1, 2).flatten(0, 1)  # (B T, S, D)
        out: Tensor = self.space(within_time)
        return torch.unflatten(out, 0, (batch, times)).flatten(1, 2)


def initialise(module: nn.Module) -> None:
    """Initialise linear layers as MAE, MAE-ST and VideoMAE do: Xavier-uniform weights, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
