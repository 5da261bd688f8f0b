"""Where a token lies in the video: fixed sine-cosine tables, or learned vectors for place and time apart."""

import math

import torch
from torch import Tensor, nn

from training.models.cubes import Grid


def sine_cosine(positions: Tensor, dim: int) -> Tensor:
    """Sines, then cosines, of `positions` (K,) at dim / 2 wavelengths from 2 pi up to 10000 * 2 pi -> (K, dim).

    Raises:
        ValueError: `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"a sine-cosine table of {dim} columns: must be even")
    rates = torch.exp(-math.log(10000.0) * torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = positions.double().unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], 1).float()


def sine_cosine_3d(grid: Grid, dim: int) -> Tensor:
    """(N, dim): a quarter of the columns tells the row, a quarter the column, the rest the time."""
    space = 2 * (dim // 8)
    time = dim - 2 * space
    t, y, x = torch.meshgrid(torch.arange(grid.times), torch.arange(grid.side), torch.arange(grid.side), indexing="ij")
    columns = ((y, space), (x, space), (t, time))
    return torch.cat([sine_cosine(axis.flatten(), width) for axis, width in columns], 1)


def sinusoid_1d(tokens: int, dim: int) -> Tensor:
    """VideoMAE's table (tokens, dim) over the running token number: sine in even columns, cosine in odd ones."""
    column = torch.arange(dim, dtype=torch.float64)
    angles = torch.arange(tokens, dtype=torch.float64).unsqueeze(1) / 10000.0 ** (2 * (column // 2) / dim)
    return torch.where(column % 2 == 0, angles.sin(), angles.cos()).float()


class FixedPositions(nn.Module):
    """A table that is not trained; it is rebuilt, not stored, so that checkpoints fit other lengths."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)

    def forward(self) -> Tensor:
        """(N, D)"""
        return self.table


class SeparablePositions(nn.Module):
    """Learned: one vector a place and one a moment; a token's position is their sum (MAE-ST)."""

    def __init__(self, grid: Grid, dim: int) -> None:
        super().__init__()
        self.space = nn.Parameter(torch.empty(grid.places, dim))
        self.time = nn.Parameter(torch.empty(grid.times, dim))
        nn.init.trunc_normal_(self.space, std=0.02)
        nn.init.trunc_normal_(self.time, std=0.02)

    def forward(self) -> Tensor:
        """(N, D)"""
        return (self.time.unsqueeze(1) + self.space.unsqueeze(0)).flatten(0, 1)


class JointPositions(nn.Module):
    """Learned: one vector a token."""

    def __init__(self, grid: Grid, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(grid.tokens, dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self) -> Tensor:
        """(N, D)"""
        return self.table


def positions(kind: str, grid: Grid, dim: int) -> nn.Module:
    """The table that a preset names: `sincos_3d`, `sincos_1d`, `separable` or `joint`."""
    if kind == "sincos_3d":
        return FixedPositions(sine_cosine_3d(grid, dim))
    if kind == "sincos_1d":
        return FixedPositions(sinusoid_1d(grid.tokens, dim))
    return {"separable": SeparablePositions, "joint": JointPositions}[kind](grid, dim)
