"""The transformer block: pre-norm self-attention and a two-layer perceptron, with stochastic depth."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

QKVBias = Literal["none", "no_key", "full"]


class Attention(nn.Module):
    """Multi-head self-attention. `no_key` is VideoMAE's bias: for query and value only.

    With `local` it is LSA (arXiv 2112.13492): a token does not attend to itself, and each head learns its temperature.
    """

    def __init__(self, dim: int, heads: int, bias: QKVBias, *, local: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"a width of {dim} does not split into {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias == "full")
        self.q_bias = nn.Parameter(torch.zeros(dim)) if bias == "no_key" else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if bias == "no_key" else None
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), (dim / heads) ** -0.5)) if local else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        q, k, v = self._split(tokens)
        if self.temperature is None:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
            mixed = F.scaled_dot_product_attention(q * self.temperature, k, v, attn_mask=~itself, scale=1.0)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out

    def weights(self, tokens: Tensor) -> Tensor:
        """How much each token attends to each other, (B, N, D) -> (B, heads, N, N); rows add up to 1."""
        q, k, _ = self._split(tokens)
        scale = (tokens.shape[2] / self.heads) ** -0.5 if self.temperature is None else self.temperature
        scores = q @ k.transpose(2, 3) * scale
        if self.temperature is not None:
            scores = scores.masked_fill(torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device), -torch.inf)
        return scores.softmax(3)

    def _split(self, tokens: Tensor) -> tuple[Tensor, ...]:
        bias: Tensor | None = self.qkv.bias
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(tokens, self.qkv.weight, bias)
        return qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a whole sample's branch with probability `rate`, and scale up the others."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)"""
        if not self.training or self.rate == 0:
            return branch
        kept = torch.rand(len(branch), *([1] * (branch.dim() - 1)), device=branch.device) >= self.rate
        return branch * kept / (1 - self.rate)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

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
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return out


class FactorisedBlock(nn.Module):
    """Divided attention (TimeSformer, arXiv 2102.05095): along time at each place, then within each moment, then the MLP."""

    def __init__(self, times: int, dim: int, heads: int, **options: Any) -> None:
        super().__init__()
        self.times = times
        self.space = Block(dim, heads, **options)
        self.norm = nn.LayerNorm(dim, eps=options.get("eps", 1e-6))
        self.time = Attention(dim, heads, options.get("bias", "full"))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), tokens ordered by time, as many at each moment."""
        if tokens.shape[1] % self.times:
            raise ValueError("factorised attention needs the same places at each moment: mask tubes")
        batch = len(tokens)
        moments = tokens.unflatten(1, (self.times, -1))
        lines = moments.transpose(1, 2).flatten(0, 1)  # (B S, T, D)
        lines = lines + self.space.drop_path(self.time(self.norm(lines)))
        frames = lines.unflatten(0, (batch, -1)).transpose(1, 2).flatten(0, 1)  # (B T, S, D)
        out: Tensor = self.space(frames)
        return out.unflatten(0, (batch, self.times)).flatten(1, 2)


def initialise(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for linear layers, as MAE, MAE-ST and VideoMAE start."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
