"""Shifted Patch Tokenization (SPT; Lee et al., 2021, arXiv 2112.13492), applied to each frame.

Each frame and four copies of it, shifted by half a patch along the diagonals and padded with zeros, are stacked into 15
channels, split into patches, normalised and projected. A token thus includes half a patch of its surroundings.

In a masked autoencoder that is a leak: the shifted copies carry masked pixels into visible tokens. Masked patches are
therefore set to zero before the shift.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.tubelets import Grid, TokenSplit, patchify, patchify_at, zero_masked


def shifted_copies(video: Tensor, shift: int, copies: int = 5) -> Tensor:
    """(B, C, T, H, W) -> (B, copies * C, T, H, W): the video, and its copies shifted by `shift` pixels.

    The shifts are right-down, left-down, right-up and left-up; with 7 copies also one frame later and one frame earlier.
    Pixels shifted in from outside are zero.
    """
    height, width = video.shape[-2:]
    padded = F.pad(video, (shift, shift, shift, shift))
    shifted = [video]
    for down in (1, -1):
        for right in (1, -1):
            top, left = shift - down * shift, shift - right * shift
            shifted.append(padded[..., top : top + height, left : left + width])
    if copies == 7:
        padded = F.pad(video, (0, 0, 0, 0, 1, 1))
        shifted += [padded[:, :, :-2], padded[:, :, 2:]]
    return torch.cat(shifted, 1)


class ShiftedPatchTokenization(nn.Module):
    """Tokens from a video and its shifted copies; a drop-in replacement for `TubeletEmbedding`.

    Args:
        grid: of the video.
        dim: width of the tokens.
        copies: 5, or 7 with shifts along time.
        zero_masked_patches: False lets the pixels of masked tokens into visible ones, for the ablation of the leak.
    """

    def __init__(self, grid: Grid, dim: int, copies: int = 5, *, zero_masked_patches: bool = True) -> None:
        super().__init__()
        self.grid, self.copies, self.zero_masked_patches = grid, copies, zero_masked_patches
        values = copies * grid.tubelet_values
        self.norm = nn.LayerNorm(values)
        self.proj = nn.Linear(values, dim)

    def forward(self, video: Tensor, split: TokenSplit | None = None) -> Tensor:
        """(B, 3, T, H, W) -> (B, N, dim), or (B, K, dim) for the visible tokens of `split`."""
        if split is not None and self.zero_masked_patches:
            video = zero_masked(video, split.mask, self.grid)
        copies, size = shifted_copies(video, self.grid.patch // 2, self.copies), (self.grid.tubelet, self.grid.patch)
        tubelets = patchify(copies, *size) if split is None else patchify_at(copies, *size, split.visible)
        out: Tensor = self.proj(self.norm(tubelets))
        return out
