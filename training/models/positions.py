"""Where a token lies in the video: fixed sine-cosine tables, or learned vectors for place and time apart."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.tubelets import Grid


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


def stretch(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions (times * side * side, D) of one grid for another: bicubic in space, linear in time."""
    if old == new:
        return table
    dim = table.shape[1]
    frames = table.reshape(old[0], old[1], old[1], dim).permute(0, 3, 1, 2)
    if old[1] != new[1]:
        frames = F.interpolate(frames, size=(new[1], new[1]), mode="bicubic", align_corners=False)
    lines = frames.permute(2, 3, 1, 0).flatten(0, 1)  # (side * side, D, times)
    if old[0] != new[0]:
        lines = F.interpolate(lines, size=new[0], mode="linear", align_corners=False)
    return lines.permute(2, 0, 1).reshape(-1, dim)


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


def positions(kind: str, grid: Grid, dim: int, origin: tuple[int, int] | None = None) -> nn.Module:
    """The table that a preset names: `sincos_3d`, `sincos_1d`, `separable` or `joint`.

    Fixed tables are stretched from the grid `origin` (times, side) that weights were trained on, if that was another.
    """
    if kind in ("sincos_3d", "sincos_1d"):
        times, side = origin or (grid.times, grid.side)
        trained = Grid(times, side, 1, 1)
        table = sine_cosine_3d(trained, dim) if kind == "sincos_3d" else sinusoid_1d(trained.tokens, dim)
        return FixedPositions(stretch(table, (times, side), (grid.times, grid.side)))
    return {"separable": SeparablePositions, "joint": JointPositions}[kind](grid, dim)
