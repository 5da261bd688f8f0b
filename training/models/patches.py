"""From a video to tokens: cubes of pixels, and Shifted Patch Tokenization.

A tokenizer first lays out raw patches and then projects them, so that a masked autoencoder can project the visible
ones alone. Patch n covers frames, rows, columns in that order of significance.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def patchify(video: Tensor, tubelet: int, patch: int) -> Tensor:
    """`(B, C, T, H, W)` -> `(B, N, tubelet * patch * patch * C)`: pixels of each cube, channels last.

    Raises:
        ValueError: the cube does not divide the video.
    """
    batch, channels, frames, height, width = video.shape
    if frames % tubelet or height % patch or width % patch:
        raise ValueError(f"a video of {frames}x{height}x{width} does not divide into {tubelet}x{patch}x{patch} cubes")
    cubes = video.reshape(batch, channels, frames // tubelet, tubelet, height // patch, patch, width // patch, patch)
    return cubes.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(batch, -1, tubelet * patch * patch * channels)


def unpatchify(patches: Tensor, tubelet: int, patch: int, frames: int, size: int) -> Tensor:
    """The inverse of `patchify` for square videos: `(B, N, D)` -> `(B, C, T, size, size)`."""
    batch, side = len(patches), size // patch
    cubes = patches.reshape(batch, frames // tubelet, side, side, tubelet, patch, patch, -1)
    return cubes.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(batch, -1, frames, size, size)


class CubeEmbedding(nn.Module):
    """Linear projection of cubes, as in VideoMAE and MAE-ST (there written as a strided convolution)."""

    def __init__(self, tubelet: int, patch: int, dim: int, channels: int = 3) -> None:
        super().__init__()
        self.tubelet, self.patch = tubelet, patch
        self.project = nn.Linear(tubelet * patch * patch * channels, dim)

    def lay_out(self, video: Tensor, mask: Tensor | None = None) -> Tensor:
        """Raw patches `(B, N, P)`. A cube holds no pixel of its neighbours, so `mask` changes nothing."""
        return patchify(video, self.tubelet, self.patch)

    def forward(self, patches: Tensor) -> Tensor:
        """Raw patches `(B, n, P)` -> tokens `(B, n, dim)`."""
        return self.project(patches)


class ShiftedPatchTokenization(nn.Module):
    """SPT (Lee et al. 2021): the frame and its four diagonal shifts by half a patch, stacked, then LayerNorm and linear.

    Shifting carries pixels of neighbours into a patch. Under a mask, masked patches are therefore blanked before the
    shift, or a visible token would show what is to be reconstructed.
    """

    COPIES = 5

    def __init__(self, tubelet: int, patch: int, dim: int, channels: int = 3) -> None:
        super().__init__()
        self.tubelet, self.patch = tubelet, patch
        width = tubelet * patch * patch * channels * self.COPIES
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, dim)

    def lay_out(self, video: Tensor, mask: Tensor | None = None) -> Tensor:
        """Raw patches `(B, N, P)` of the stacked copies; `mask` `(B, N)` bool, True = masked."""
        if mask is not None:
            video = self._blank(video, mask)
        shift = self.patch // 2
        padded = F.pad(video, (shift,) * 4)
        height, width = video.shape[-2:]
        copies = [video]
        for top in (0, 2 * shift):
            for left in (0, 2 * shift):
                copies.append(padded[..., top : top + height, left : left + width])
        return patchify(torch.cat(copies, 1), self.tubelet, self.patch)

    def forward(self, patches: Tensor) -> Tensor:
        """Raw patches `(B, n, P)` -> tokens `(B, n, dim)`."""
        return self.project(self.norm(patches))

    def _blank(self, video: Tensor, mask: Tensor) -> Tensor:
        batch, _, frames, height, width = video.shape
        grid = (frames // self.tubelet, height // self.patch, width // self.patch)
        visible = (~mask).reshape(batch, 1, *grid)
        for axis, repeat in zip((2, 3, 4), (self.tubelet, self.patch, self.patch), strict=True):
            visible = visible.repeat_interleave(repeat, axis)
        return video.where(visible, torch.zeros((), dtype=video.dtype, device=video.device))
