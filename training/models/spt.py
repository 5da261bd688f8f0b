"""Shifted Patch Tokenization (Lee et al., 2021, arXiv 2112.13492), frame by frame.

Each frame and four copies of it, shifted by half a patch towards the four diagonals and padded with zeros, are laid
over one another (15 channels), cut into patches, normalised and mapped to the model's width. A token so sees half a
patch beyond its own borders.

That is a leak in a masked auto-encoder: a shifted copy carries masked pixels into a visible token. So the masked
patches are blanked *before* the shift.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.tubelets import Grid, blank, cut, cut_some


def shifted_copies(video: Tensor, shift: int, copies_wanted: int = 5) -> Tensor:
    """(B, C, T, H, W) -> (B, 5 C, T, H, W): the video, then moved right-down, left-down, right-up, left-up by `shift`.

    With 7 copies, also one frame later and one frame earlier; what moves in from outside is zero.
    """
    height, width = video.shape[-2:]
    padded = F.pad(video, (shift, shift, shift, shift))
    copies = [video]
    for down in (1, -1):
        for right in (1, -1):
            top, left = shift - down * shift, shift - right * shift
            copies.append(padded[..., top : top + height, left : left + width])
    if copies_wanted == 7:
        longer = F.pad(video, (0, 0, 0, 0, 1, 1))
        copies += [longer[:, :, :-2], longer[:, :, 2:]]
    return torch.cat(copies, 1)


class ShiftedPatchTokenization(nn.Module):
    """Tokens of a video with their surroundings; the same calls as `CubeEmbedding`."""

    def __init__(self, grid: Grid, dim: int, copies: int = 5, *, blank_masked: bool = True) -> None:
        super().__init__()
        self.grid, self._copies, self._blank = grid, copies, blank_masked
        values = copies * grid.cube_values
        self.norm = nn.LayerNorm(values)
        self.proj = nn.Linear(values, dim)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, 3, T, H, W) -> (B, N, D), or (B, K, D) for the tokens `visible` (B, K), blind to all other tokens' pixels."""
        if visible is not None and self._blank:
            mask = torch.ones(len(video), self.grid.tokens, dtype=torch.bool, device=video.device)
            video = blank(video, mask.scatter(1, visible, False), self.grid)
        copies, size = shifted_copies(video, self.grid.patch // 2, self._copies), (self.grid.tubelet, self.grid.patch)
        cubes = cut(copies, *size) if visible is None else cut_some(copies, *size, visible)
        out: Tensor = self.proj(self.norm(cubes))
        return out
