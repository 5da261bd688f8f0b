"""Random erasing (Zhong et al., arXiv 1708.04896) by timm's definition; a clip's boxes are the same in all its frames."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

_ATTEMPTS = 10


class ErasingDraws(NamedTuple):
    """Boxes of N attempts per clip, and what fills them."""

    boxes: Tensor  # (B, N, 4) int64: top, left, height, width; height 0 = no box
    noise: Tensor | None  # shape of the video, float32; None = zeros


@dataclass(frozen=True)
class RandomErasing:
    """Rectangles of a standardised video replaced, in a share of the clips.

    Args:
        probability: share of the clips.
        mode: "pixel" fills with normal noise, different in each pixel and frame; "const" with 0.
        min_area: smallest area of the boxes of a clip together, as a fraction of the frame's.
        max_area: largest area.
        min_aspect: smallest height divided by width; the largest is its inverse.
        min_count: fewest boxes of a clip.
        max_count: most boxes of a clip.
    """

    probability: float = 0.25
    mode: Literal["pixel", "const"] = "pixel"
    min_area: float = 0.02
    max_area: float = 1 / 3
    min_aspect: float = 0.3
    min_count: int = 1
    max_count: int = 1

    def __call__(self, video: Tensor, generator: Generator) -> Tensor:
        """`apply` with new draws."""
        return self.apply(video, self.draw(video.shape, generator))

    def draw(self, shape: torch.Size, generator: Generator) -> ErasingDraws:
        """Parameters for a video of `shape` (B, 3, T, H, W), on the generator's device."""
        batch, device = shape[0], generator.device
        uniform = torch.rand((batch, 2), generator=generator, device=device, dtype=torch.float64)
        tries = (batch, self.max_count, _ATTEMPTS, 4)
        attempts = torch.rand(tries, generator=generator, device=device, dtype=torch.float64)
        noise = torch.randn(shape, generator=generator, device=device) if self.mode == "pixel" else None
        return ErasingDraws(self.boxes(uniform[:, 0], uniform[:, 1], attempts, shape[3], shape[4]), noise)

    def boxes(self, chance: Tensor, number: Tensor, attempts: Tensor, height: int, width: int) -> Tensor:
        """Boxes from uniform random numbers in [0, 1): the first of the attempts that is smaller than the frame.

        Args:
            chance: (B,), below `probability` = erased.
            number: (B,), for the count of boxes.
            attempts: (B, max_count, attempts, 4), for area, aspect ratio, top and left.
            height: of the frames, pixels.
            width: of the frames, pixels.

        Returns:
            (B, max_count, 4) int64: top, left, height, width; all 0 = no box.
        """
        count = self.min_count + (number * (self.max_count - self.min_count + 1)).floor()
        share = self.min_area + (self.max_area - self.min_area) * attempts[..., 0]
        area = share * (height * width) / count[:, None, None]
        bound = math.log(self.min_aspect)
        aspect = torch.exp(bound - 2 * bound * attempts[..., 1])
        tall, wide = torch.sqrt(area * aspect).round(), torch.sqrt(area / aspect).round()
        top = (attempts[..., 2] * (height - tall + 1)).floor()
        left = (attempts[..., 3] * (width - wide + 1)).floor()
        fits = (tall < height) & (wide < width)
        first = fits.long().argmax(2)[..., None, None].expand(-1, -1, 1, 4)
        found = torch.stack([top, left, tall, wide], -1).gather(2, first).squeeze(2)
        position = torch.arange(self.max_count, device=attempts.device)
        wanted = fits.any(2) & (position < count[:, None]) & (chance < self.probability)[:, None]
        return (found * wanted[..., None]).long()

    def apply(self, video: Tensor, draws: ErasingDraws) -> Tensor:
        """The video with its boxes filled: (B, 3, T, H, W) float -> the same; a pure function."""
        erased = inside_boxes(draws.boxes, *video.shape[3:]).any(1)[:, None, None]  # (B, 1, 1, H, W)
        if draws.noise is None:
            return video.masked_fill(erased, 0)
        return torch.where(erased, draws.noise.to(video.dtype), video)


def inside_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels are inside boxes (..., 4) of top, left, height and width: (..., height, width) bool."""
    top, left, tall, wide = boxes.unbind(-1)
    row, column = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    rows = (row >= top[..., None]) & (row < (top + tall)[..., None])
    columns = (column >= left[..., None]) & (column < (left + wide)[..., None])
    return rows[..., :, None] & columns[..., None, :]
