"""Random resized crop and horizontal flip: one box and one flip per clip, the same for its frames.

The crop is two matrix products per clip, with the weights that Pillow and torchvision (antialias=True) resize by, so that
every clip of a batch has its own box without a loop. A flip reverses the rows of the horizontal weights.
"""

import math
from typing import Literal

import torch
from torch import Generator, Tensor

Interpolation = Literal["bilinear", "bicubic"]

_ATTEMPTS = 10


def draw_boxes(
    batch: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], generator: Generator
) -> Tensor:
    """Boxes as timm's RandomResizedCropAndInterpolation and torchvision's RandomResizedCrop draw them.

    Args:
        batch: B, number of boxes.
        height: of the frames, pixels.
        width: of the frames, pixels.
        scale: bounds of the box's area, as a fraction of the frame's.
        ratio: bounds of the box's width divided by its height.
        generator: its device is where the boxes are.

    Returns:
        (B, 4) int64: top, left, height, width.
    """
    uniform = torch.rand((batch, _ATTEMPTS + 1, 2), generator=generator, device=generator.device, dtype=torch.float64)
    return boxes(uniform[:, :-1], uniform[:, -1], height, width, scale, ratio)


def boxes(
    shape: Tensor, place: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes from uniform random numbers in [0, 1).

    The first attempt whose box fits is taken; where none fits, the largest central box within the bounds of `ratio`.

    Args:
        shape: (B, attempts, 2) float64, for area and ratio.
        place: (B, 2) float64, for top and left.
        height: of the frames, pixels.
        width: of the frames, pixels.
        scale: see `draw_boxes`.
        ratio: see `draw_boxes`.

    Returns:
        (B, 4) int64: top, left, height, width.
    """
    area = (scale[0] + (scale[1] - scale[0]) * shape[..., 0]) * (height * width)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * shape[..., 1])
    sizes = torch.stack([torch.sqrt(area / aspect), torch.sqrt(area * aspect)], -1).round().long()  # (B, attempts, 2)
    fits = (sizes[..., 0] <= height) & (sizes[..., 1] <= width) & (sizes > 0).all(-1)
    first = fits.long().argmax(1)[:, None, None].expand(-1, 1, 2)
    drawn = sizes.gather(1, first).squeeze(1)
    corner = torch.stack([_below(place[:, 0], height - drawn[:, 0]), _below(place[:, 1], width - drawn[:, 1])], 1)
    central = [torch.full_like(drawn[:, 0], value) for value in _central_box(height, width, ratio)]
    return torch.where(fits.any(1, keepdim=True), torch.cat([corner, drawn], 1), torch.stack(central, 1))


def crop_resize(
    planes: Tensor, box: Tensor, flip: Tensor, size: tuple[int, int], interpolation: Interpolation
) -> Tensor:
    """The boxes of clips, resized with antialiasing and then flipped.

    Values are rounded after the horizontal and after the vertical pass, as Pillow rounds them.

    Args:
        planes: (B, T, 3, H, W) uint8.
        box: (B, 4) int64: top, left, height, width.
        flip: (B,) bool, True = mirrored.
        size: height and width of the result, pixels.
        interpolation: bilinear or bicubic.

    Returns:
        (B, T, 3, *size) uint8.
    """
    batch, frames, colours, height, width = planes.shape
    rows = resize_weights(box[:, 0], box[:, 2], height, size[0], interpolation)
    columns = resize_weights(box[:, 1], box[:, 3], width, size[1], interpolation)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    with torch.autocast(planes.device.type, enabled=False):  # bfloat16 does not hold sums of 256 grey levels
        wide = planes.reshape(batch, -1, width).float() @ columns.transpose(1, 2)
        wide = _round_to_levels(wide).view(batch, frames * colours, height, size[1])
        return _round_to_levels(rows[:, None] @ wide).to(torch.uint8).view(batch, frames, colours, *size)


def resize_weights(start: Tensor, length: Tensor, source: int, target: int, interpolation: Interpolation) -> Tensor:
    """Weights that resize the pixels `start` to `start + length` of a line of `source` pixels to `target` pixels.

    A triangle (bilinear) or Keys' cubic with a = -0.5 (bicubic), widened by the factor of a reduction (antialiasing),
    within the box alone and normalised.

    Args:
        start: (B,) int64.
        length: (B,) int64.
        source: pixels of the line.
        target: pixels of the result.
        interpolation: bilinear or bicubic.

    Returns:
        (B, target, source) float32.
    """
    step = (length / target)[:, None, None]
    pixel = torch.arange(source, device=start.device)
    centre = start[:, None, None] + (torch.arange(target, device=start.device)[:, None] + 0.5) * step
    distance = ((pixel + 0.5 - centre) / step.clamp(min=1)).abs()
    kernel = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    inside = (pixel >= start[:, None]) & (pixel < (start + length)[:, None])
    weights = kernel * inside[:, None]
    return weights / weights.sum(-1, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0))


def _round_to_levels(values: Tensor) -> Tensor:
    """Grey levels from `values`, in place."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def _below(uniform: Tensor, last: Tensor) -> Tensor:
    """Integers from 0 to `last`, both included."""
    return (uniform * (last + 1)).floor().long()


def _central_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the largest central box whose width / height is within `ratio`."""
    box_height, box_width = height, width
    if width / height < min(ratio):
        box_height = round(width / min(ratio))
    elif width / height > max(ratio):
        box_width = round(height * max(ratio))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width
