"""Videos as sequences of cubes (tubelets): `tubelet` frames of `patch` x `patch` pixels, all three colours."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Grid:
    """How a video is cut; tokens are ordered by time, then row, then column.

    Raises:
        ValueError: the cubes do not tile the video.
    """

    num_frames: int
    image_size: int
    tubelet: int
    patch: int

    def __post_init__(self) -> None:
        if self.num_frames % self.tubelet or self.image_size % self.patch:
            raise ValueError(
                f"{self.tubelet}x{self.patch}x{self.patch} cubes do not tile "
                f"{self.num_frames} frames of {self.image_size}x{self.image_size}"
            )

    @property
    def times(self) -> int:
        """Tokens along time."""
        return self.num_frames // self.tubelet

    @property
    def side(self) -> int:
        """Tokens along height, and along width."""
        return self.image_size // self.patch

    @property
    def places(self) -> int:
        """Tokens of one moment."""
        return self.side * self.side

    @property
    def tokens(self) -> int:
        """All tokens, N."""
        return self.times * self.places

    @property
    def cube_values(self) -> int:
        """Values of one cube: tubelet x patch x patch x 3."""
        return self.tubelet * self.patch * self.patch * 3

    def check(self, video: Tensor) -> None:
        """Raises ValueError unless `video` is (B, 3, num_frames, image_size, image_size), all of it numbers.

        The values are looked at on the processor only: on a GPU the look would cost more than it is worth.
        """
        wanted = (3, self.num_frames, self.image_size, self.image_size)
        if video.dim() != 5 or tuple(video.shape[1:]) != wanted:
            raise ValueError(f"a video of shape {tuple(video.shape)}: must be (B, {', '.join(map(str, wanted))})")
        if video.device.type == "cpu" and not torch.compiler.is_compiling() and not video.isfinite().all():
            raise ValueError("the video holds values that are no numbers")


def cut(video: Tensor, tubelet: int, patch: int) -> Tensor:
    """(B, C, T, H, W) -> (B, N, tubelet * patch * patch * C); a cube's values in order frame, row, column, colour."""
    return _blocks(video, tubelet, patch).flatten(4).flatten(1, 3)


def cut_some(video: Tensor, tubelet: int, patch: int, index: Tensor) -> Tensor:
    """`pick(cut(video, ...), index)`, (B, C, T, H, W) and (B, K) -> (B, K, ...), copying no cube but those."""
    blocks = _blocks(video, tubelet, patch)
    rows, columns = blocks.shape[2:4]
    clips = torch.arange(len(video), device=video.device).unsqueeze(1)
    time, place = index // (rows * columns), index % (rows * columns)
    return blocks[clips, time, place // columns, place % columns].flatten(2)


def _blocks(video: Tensor, tubelet: int, patch: int) -> Tensor:
    """A view of (B, C, T, H, W) as (B, times, rows, columns, tubelet, patch, patch, C)."""
    batch, channels, frames, height, width = video.shape
    cubes = video.reshape(batch, channels, frames // tubelet, tubelet, height // patch, patch, width // patch, patch)
    return cubes.permute(0, 2, 4, 6, 3, 5, 7, 1)


def paste(cubes: Tensor, grid: Grid) -> Tensor:
    """The inverse of `cut`: (B, N, tubelet * patch * patch * 3) -> (B, 3, T, H, W)."""
    blocks = cubes.reshape(len(cubes), grid.times, grid.side, grid.side, grid.tubelet, grid.patch, grid.patch, 3)
    video = blocks.permute(0, 7, 1, 4, 2, 5, 3, 6)
    return video.reshape(len(cubes), 3, grid.num_frames, grid.image_size, grid.image_size)


def pick(tokens: Tensor, index: Tensor) -> Tensor:
    """`tokens` (B, N, D) at `index` (B, K) -> (B, K, D)."""
    return tokens.gather(1, index.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


class CubeEmbedding(nn.Module):
    """A linear map of each cube to `dim`: what a convolution with stride = kernel does, on the visible cubes only."""

    def __init__(self, grid: Grid, dim: int) -> None:
        super().__init__()
        self.grid = grid
        self.proj = nn.Linear(grid.cube_values, dim)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, 3, T, H, W) -> (B, N, D), or (B, K, D) for the tokens `visible` (B, K)."""
        size = self.grid.tubelet, self.grid.patch
        out: Tensor = self.proj(cut(video, *size) if visible is None else cut_some(video, *size, visible))
        return out


def blank(video: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """`video` (B, 3, T, H, W) with the pixels of every masked cube, `mask` (B, N) True, set to zero."""
    seen = mask.logical_not().reshape(len(mask), 1, grid.times, grid.side, grid.side)
    for dim, times in ((2, grid.tubelet), (3, grid.patch), (4, grid.patch)):
        seen = seen.repeat_interleave(times, dim)
    return torch.where(seen, video, torch.zeros((), dtype=video.dtype, device=video.device))
