"""Small random affine maps of pictures, for augmentation."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Jitter:
    """A turn, a change of scale and shape, and a shift, drawn for every picture from uniform distributions.

    Args:
        angle: radians, at most.
        shift: along each axis, of the side, at most.
        scale: logarithm of the factor on both sides, at most.
        stretch: logarithm of the factor on the width and of that on 1 / height, at most.
        shear: of a row by its height, at most.
    """

    angle: float
    shift: float
    scale: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0

    def __call__(self, pictures: Tensor, generator: Generator) -> Tensor:
        """(N, C, S, S) uint8 -> (N, C, S, S) uint8, the channels of a picture alike, black where there was no picture."""
        maps = self.maps(len(pictures), generator)
        grid = F.affine_grid(maps, [len(pictures), 1, *pictures.shape[2:]], align_corners=False)
        return F.grid_sample(pictures.float(), grid, align_corners=False).round().byte()

    def maps(self, number: int, generator: Generator) -> Tensor:
        """Random maps as `torch.nn.functional.affine_grid` takes them, (number, 2, 3)."""
        random = 2 * torch.rand(6, number, generator=generator) - 1
        angle, scale, stretch = self.angle * random[0], self.scale * random[1], self.stretch * random[2]
        width, height, slant = (scale + stretch).exp(), (scale - stretch).exp(), self.shear * random[3]
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).unflatten(1, (2, 2))
        shape = torch.stack([width, slant, torch.zeros_like(slant), height], 1).unflatten(1, (2, 2))
        return torch.cat([turn @ shape, 2 * self.shift * random[4:].T.unsqueeze(2)], 2)
