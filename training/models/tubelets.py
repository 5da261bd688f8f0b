"""Videos as sequences of tubelets: `tubelet` frames of `patch` x `patch` pixels, in all three colours."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Grid:
    """The tubelets of a video, one token each, ordered by time, then row, then column.

    Raises:
        ValueError: a size is not positive, or the tubelets do not tile the video.
    """

    num_frames: int
    image_size: int
    tubelet: int
    patch: int

    def __post_init__(self) -> None:
        for name in ("num_frames", "image_size", "tubelet", "patch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: must be at least 1")
        if self.num_frames % self.tubelet:
            raise ValueError(f"num_frames is {self.num_frames}: must be a multiple of tubelet, {self.tubelet}")
        if self.image_size % self.patch:
            raise ValueError(f"image_size is {self.image_size}: must be a multiple of patch, {self.patch}")

    @property
    def time_patches(self) -> int:
        """Tokens along time."""
        return self.num_frames // self.tubelet

    @property
    def side(self) -> int:
        """Tokens along height, and along width."""
        return self.image_size // self.patch

    @property
    def space_patches(self) -> int:
        """Tokens at one time: side * side."""
        return self.side * self.side

    @property
    def tokens(self) -> int:
        """All tokens, N."""
        return self.time_patches * self.space_patches

    @property
    def tubelet_values(self) -> int:
        """Values of one tubelet: tubelet * patch * patch * 3."""
        return self.tubelet * self.patch * self.patch * 3

    def check(self, video: Tensor) -> None:
        """Check that `video` is (B, 3, num_frames, image_size, image_size) and, on the CPU, finite.

        Raises:
            ValueError: it is not.
        """
        expected = (3, self.num_frames, self.image_size, self.image_size)
        if video.dim() != 5 or tuple(video.shape[1:]) != expected:
            raise ValueError(f"a video is {tuple(video.shape)}: must be (B, {', '.join(map(str, expected))})")
        # CPU only: on a GPU this forces a sync. A finite sum rules NaN and infinity out in a tenth of the time.
        if video.device.type != "cpu" or torch.compiler.is_compiling() or video.sum().isfinite():
            return
        if not video.isfinite().all():
            raise ValueError("a video has NaN or infinite values")


class TokenSplit(NamedTuple):
    """Visible and masked tokens of a batch, computed once from its mask; all tensors are on one device."""

    mask: Tensor  # (B, N) bool, True = masked
    visible: Tensor  # (B, K) token numbers, ascending
    masked: Tensor  # (B, N - K) token numbers, ascending

    @classmethod
    def of(cls, mask: Tensor, batch: int, grid: Grid) -> Self:
        """Split the tokens of `batch` videos by `mask`.

        A mask on the host costs no GPU synchronisation, one on a GPU costs one.

        Raises:
            ValueError: the mask is not (batch, N) bool, its rows mask different numbers of tokens, or all or none are masked.
        """
        if mask.shape != (batch, grid.tokens) or mask.dtype != torch.bool:
            raise ValueError(f"a mask is {tuple(mask.shape)} {mask.dtype}: must be ({batch}, {grid.tokens}) torch.bool")
        fewest, most = torch.stack(mask.sum(1).aminmax()).tolist()
        if fewest != most:
            raise ValueError(f"a mask hides {fewest} to {most} tokens: every row must mask the same number")
        if not 0 < most < grid.tokens:
            raise ValueError(f"a mask hides {most} of {grid.tokens} tokens: at least one must be masked, one visible")
        order = mask.argsort(dim=1, stable=True)  # False before True, each in ascending order
        return cls(mask, order[:, : grid.tokens - most], order[:, grid.tokens - most :])

    def to(self, device: torch.device) -> Self:
        """The same tokens on `device`."""
        non_blocking = device.type == "cuda"
        return type(self)(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))


def patchify(video: Tensor, tubelet: int, patch: int) -> Tensor:
    """(B, C, T, H, W) -> (B, N, tubelet * patch * patch * C), a tubelet's values by frame, row, column, colour."""
    return _tubelet_view(video, tubelet, patch).flatten(4).flatten(1, 3)


def patchify_at(video: Tensor, tubelet: int, patch: int, index: Tensor) -> Tensor:
    """`gather_tokens(patchify(video, tubelet, patch), index)` without copying the other tubelets.

    (B, C, T, H, W) and token numbers (B, K) -> (B, K, tubelet * patch * patch * C)
    """
    tubelets = _tubelet_view(video, tubelet, patch)
    rows, columns = tubelets.shape[2:4]
    clip = torch.arange(len(video), device=video.device).unsqueeze(1)
    time, space = index // (rows * columns), index % (rows * columns)
    return tubelets[clip, time, space // columns, space % columns].flatten(2)


def unpatchify(tubelets: Tensor, grid: Grid) -> Tensor:
    """The inverse of `patchify`: (B, N, tubelet * patch * patch * 3) -> (B, 3, T, H, W)."""
    sizes = (grid.time_patches, grid.side, grid.side, grid.tubelet, grid.patch, grid.patch, 3)
    video = tubelets.reshape(len(tubelets), *sizes).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return video.reshape(len(tubelets), 3, grid.num_frames, grid.image_size, grid.image_size)


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """`tokens` (B, N, D) at the token numbers `index` (B, K) -> (B, K, D)."""
    return tokens.gather(1, index.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


def upsample_mask(mask: Tensor, grid: Grid) -> Tensor:
    """A mask over tokens (B, N) as a mask over pixels (B, 1, T, H, W)."""
    pixels = mask.reshape(len(mask), 1, grid.time_patches, grid.side, grid.side)
    for dim, repeats in ((2, grid.tubelet), (3, grid.patch), (4, grid.patch)):
        pixels = pixels.repeat_interleave(repeats, dim)
    return pixels


def zero_masked(video: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """`video` (B, 3, T, H, W) with the pixels of masked tokens, `mask` (B, N) True, set to zero."""
    return video.masked_fill(upsample_mask(mask, grid), 0)


def _tubelet_view(video: Tensor, tubelet: int, patch: int) -> Tensor:
    """(B, C, T, H, W) as (B, time patches, rows, columns, tubelet, patch, patch, C), without copying if possible."""
    batch, channels, frames, height, width = video.shape
    parts = video.reshape(batch, channels, frames // tubelet, tubelet, height // patch, patch, width // patch, patch)
    return parts.permute(0, 2, 4, 6, 3, 5, 7, 1)


class TubeletEmbedding(nn.Module):
    """Linear projection of each tubelet to `dim`, equal to a 3D convolution with stride = kernel size."""

    def __init__(self, grid: Grid, dim: int) -> None:
        super().__init__()
        self.grid = grid
        self.proj = nn.Linear(grid.tubelet_values, dim)

    def forward(self, video: Tensor, split: TokenSplit | None = None) -> Tensor:
        """(B, 3, T, H, W) -> (B, N, dim), or (B, K, dim) for the visible tokens of `split`."""
        size = self.grid.tubelet, self.grid.patch
        tubelets = patchify(video, *size) if split is None else patchify_at(video, *size, split.visible)
        out: Tensor = self.proj(tubelets)
        return out
