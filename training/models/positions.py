"""Positions of tokens: tables that are added to them (fixed sine-cosine, or learned), and rotary ones within attention."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.tubelets import Grid

PositionKind = Literal["sincos_3d", "sincos_1d", "separable", "joint"]  # tables that are added to the tokens


def sine_cosine(positions: Tensor, dim: int) -> Tensor:
    """Sines, then cosines, of `positions` (K,) at dim / 2 wavelengths from 2 pi to 10000 * 2 pi -> (K, dim).

    Raises:
        ValueError: `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"a sine-cosine table of {dim} columns: must be even")
    rates = torch.exp(-math.log(10000.0) * torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = positions.double().unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], 1).float()


def sine_cosine_3d(grid: Grid, dim: int) -> Tensor:
    """(N, dim): a quarter of the columns encodes the row, a quarter the column, the rest the time."""
    space = 2 * (dim // 8)
    time = dim - 2 * space
    axes = torch.arange(grid.time_patches), torch.arange(grid.side), torch.arange(grid.side)
    t, y, x = torch.meshgrid(*axes, indexing="ij")
    columns = ((y, space), (x, space), (t, time))
    return torch.cat([sine_cosine(axis.flatten(), width) for axis, width in columns], 1)


def sinusoid_1d(tokens: int, dim: int) -> Tensor:
    """VideoMAE's table over the token number, (tokens, dim): sine in even columns, cosine in odd ones."""
    column = torch.arange(dim, dtype=torch.float64)
    angles = torch.arange(tokens, dtype=torch.float64).unsqueeze(1) / 10000.0 ** (2 * (column // 2) / dim)
    return torch.where(column % 2 == 0, angles.sin(), angles.cos()).float()


def interpolate_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Position embeddings for a grid of another size: bicubic in space, linear in time.

    Args:
        table: (time patches * side * side, D) for the grid `old`.
        old: (time patches, side) of the grid that `table` is for.
        new: (time patches, side) of the wanted grid.
    """
    if old == new:
        return table
    dim = table.shape[1]
    images = table.reshape(old[0], old[1], old[1], dim).permute(0, 3, 1, 2)
    if old[1] != new[1]:
        images = F.interpolate(images, size=(new[1], new[1]), mode="bicubic", align_corners=False)
    lines = images.permute(2, 3, 1, 0).flatten(0, 1)  # (side * side, D, time patches)
    if old[0] != new[0]:
        lines = F.interpolate(lines, size=new[0], mode="linear", align_corners=False)
    return lines.permute(2, 0, 1).reshape(-1, dim)


class FixedPositions(nn.Module):
    """A sine-cosine table that is neither trained nor saved, so that a checkpoint fits grids of other sizes.

    With `pretrained`, the (time patches, side) of the grid on which weights were trained, the table is that grid's,
    interpolated to `grid`.
    """

    table: Tensor

    def __init__(
        self, kind: Literal["sincos_3d", "sincos_1d"], grid: Grid, dim: int, pretrained: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.kind, self.grid, self.dim = kind, grid, dim
        self.register_buffer("table", self._compute(pretrained), persistent=False)

    def forward(self) -> Tensor:
        """(N, D)"""
        return self.table

    def set_pretrained_grid(self, pretrained: tuple[int, int] | None) -> None:
        """Compute the table anew for weights that were trained on another grid."""
        self.table = self._compute(pretrained).to(self.table)

    def _compute(self, pretrained: tuple[int, int] | None) -> Tensor:
        new = (self.grid.time_patches, self.grid.side)
        old = pretrained or new
        trained = Grid(num_frames=old[0], image_size=old[1], tubelet=1, patch=1)
        table = sine_cosine_3d(trained, self.dim) if self.kind == "sincos_3d" else sinusoid_1d(trained.tokens, self.dim)
        return interpolate_positions(table, old, new)


class SeparablePositions(nn.Module):
    """Learned: a vector per space patch plus a vector per time patch (MAE-ST)."""

    def __init__(self, grid: Grid, dim: int) -> None:
        super().__init__()
        self.space = nn.Parameter(torch.empty(grid.space_patches, dim))
        self.time = nn.Parameter(torch.empty(grid.time_patches, dim))
        nn.init.trunc_normal_(self.space, std=0.02)
        nn.init.trunc_normal_(self.time, std=0.02)

    def forward(self) -> Tensor:
        """(N, D)"""
        return (self.time.unsqueeze(1) + self.space.unsqueeze(0)).flatten(0, 1)


class JointPositions(nn.Module):
    """Learned: a vector per token."""

    def __init__(self, grid: Grid, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(grid.tokens, dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self) -> Tensor:
        """(N, D)"""
        return self.table


class Rotation(NamedTuple):
    """Cosines and sines for the D columns of a head, each (N, D), or (B, 1, K, D) for K of the tokens of each clip."""

    cosine: Tensor
    sine: Tensor


def rotate(values: Tensor, rotation: Rotation) -> Tensor:
    """Rotate the pairs of neighbouring columns of queries or keys, (B, heads, N, D)."""
    even, odd = torch.unflatten(values, -1, (-1, 2)).unbind(-1)
    quarter_turn = torch.stack((-odd, even), -1).flatten(-2)
    return (values * rotation.cosine + quarter_turn * rotation.sine).to(values.dtype)


class RotaryPositions(nn.Module):
    """Rotary positions (RoPE) by time, row and column, as in V-JEPA 2 (arXiv 2506.09985).

    A third of a head's columns, rounded down to an even number, encodes each axis; columns left over are not rotated.
    Positions are counted in tokens from 0 whatever the grid, so that weights fit other grids without interpolation.

    Raises:
        ValueError: a head has fewer than 6 columns.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, grid: Grid, head_dim: int) -> None:
        super().__init__()
        width = 2 * (head_dim // 6)
        if not width:
            raise ValueError(f"rotary positions of heads of {head_dim} columns: must be at least 6")
        rates = 10000.0 ** -(torch.arange(width // 2, dtype=torch.float64) / (width // 2))
        rates = torch.cat([rates, rates])  # not each rate twice in a row: the published weights were trained like this
        axes = (torch.arange(size, dtype=torch.float64) for size in (grid.time_patches, grid.side, grid.side))
        angles = [axis.reshape(-1, 1) * rates for axis in torch.meshgrid(*axes, indexing="ij")]
        table = torch.cat([*angles, torch.zeros(grid.tokens, head_dim - 3 * width, dtype=torch.float64)], 1)
        self.register_buffer("cosine", table.cos().float(), persistent=False)
        self.register_buffer("sine", table.sin().float(), persistent=False)

    def forward(self, index: Tensor | None = None) -> Rotation:
        """The rotation of all tokens, or of the token numbers `index` (B, K)."""
        if index is None:
            return Rotation(self.cosine, self.sine)
        return Rotation(self.cosine[index].unsqueeze(1), self.sine[index].unsqueeze(1))


class DistanceBias(nn.Module):
    """A bias on attention scores that falls with the distance between tokens: ALiBi (arXiv 2108.12409) in space and time.

    Scores lose a fixed amount per patch of Euclidean distance in space, and per time patch. The slopes fall geometrically from
    the first head to the last, from 4 to 1/8 in space and from 1/2 to 1/32 in time, so that heads see neighbourhoods of
    different sizes before anything is learned.
    """

    space: Tensor
    time: Tensor
    slopes: Tensor

    def __init__(self, grid: Grid, heads: int) -> None:
        super().__init__()
        token = torch.arange(grid.tokens)
        time, patch = token // grid.space_patches, token % grid.space_patches
        row, column = patch // grid.side, patch % grid.side
        differences = [(axis.unsqueeze(1) - axis).float() for axis in (time, row, column)]
        self.register_buffer("time", differences[0].abs(), persistent=False)
        self.register_buffer("space", torch.hypot(differences[1], differences[2]), persistent=False)
        falling = torch.linspace(0, 1, heads)
        slopes = torch.stack([4.0 * 32.0**-falling, 0.5 * 16.0**-falling])
        self.register_buffer("slopes", slopes.reshape(2, heads, 1, 1), persistent=False)

    def forward(self, index: Tensor | None = None) -> Tensor:
        """The bias (1, heads, N, N) of all tokens, or (B, heads, K, K) of the token numbers `index` (B, K)."""
        space, time = self.space.unsqueeze(0), self.time.unsqueeze(0)
        if index is not None:
            pairs = index.unsqueeze(2), index.unsqueeze(1)
            space, time = self.space[pairs], self.time[pairs]
        return -(self.slopes[0] * space.unsqueeze(1) + self.slopes[1] * time.unsqueeze(1))


def create_positions(kind: PositionKind, grid: Grid, dim: int, pretrained: tuple[int, int] | None = None) -> nn.Module:
    """The position embedding that a config names: a module without inputs that returns (N, dim)."""
    if kind == "separable":
        return SeparablePositions(grid, dim)
    if kind == "joint":
        return JointPositions(grid, dim)
    return FixedPositions(kind, grid, dim, pretrained)


def positions_at(table: Tensor, index: Tensor) -> Tensor:
    """The rows of a position table (N, D) at the token numbers `index` (B, K): (B, K, D).

    `table[index]`, but the gradient is summed in the same order every time, also by several threads of a CPU.
    """
    return F.embedding(index, table)
