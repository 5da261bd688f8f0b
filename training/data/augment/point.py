"""Operations that map each grey level of a frame's colour plane to another level, as a table of 256 levels.

Levels are those of Pillow's ImageOps and ImageEnhance, which timm's operations call.
"""

import torch
from torch import Tensor

# Numbers of the operations in a tensor (torch.compile does not compare tensors with enums), and their arguments.
POINT_OPERATIONS = range(1, 9)
AUTO_CONTRAST, EQUALIZE, INVERT = POINT_OPERATIONS[:3]  # none
POSTERIZE = POINT_OPERATIONS[3]  # bits that are kept, 0 to 8
SOLARIZE = POINT_OPERATIONS[4]  # lowest level that is inverted
SOLARIZE_ADD = POINT_OPERATIONS[5]  # added to levels below 128
CONTRAST, BRIGHTNESS = POINT_OPERATIONS[6:]  # factor; 1 = unchanged


def point_operation(planes: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    """One operation per clip.

    Args:
        planes: (B, T, 3, H, W) uint8.
        operation: (B,) int, of `POINT_OPERATIONS`.
        argument: (B,) float32.

    Returns:
        (B, T, 3, H, W) uint8.
    """
    levels = planes.flatten(3).long()
    counts = torch.zeros((*levels.shape[:3], 256), dtype=torch.int32, device=planes.device)
    counts = counts.scatter_add(3, levels, torch.ones((), dtype=torch.int32, device=planes.device).expand_as(levels))
    tables = _tables(counts, _mean_grey(planes), operation, argument)
    return tables.gather(3, levels).view_as(planes)


def luma(planes: Tensor) -> Tensor:
    """Pillow's conversion to grey (ITU-R 601): (B, T, 3, H, W) uint8 -> (B, T, 1, H, W) int32."""
    red, green, blue = planes.int().split(1, 2)
    grey: Tensor = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    return grey


def blend(degenerate: Tensor, image: Tensor, factor: Tensor) -> Tensor:
    """degenerate + factor * (image - degenerate), cut to 0 to 255 and truncated to uint8, as Pillow's Image.blend."""
    return (degenerate + factor * (image - degenerate)).clamp(0, 255).to(torch.uint8)


def _mean_grey(planes: Tensor) -> Tensor:
    """Mean grey level of each frame, rounded: (B, T, 1, 1) int32."""
    grey = luma(planes).flatten(2)
    pixels = grey.shape[2]
    return ((2 * grey.sum(2, dtype=torch.int64) + pixels) // (2 * pixels)).int()[..., None, None]


def _tables(counts: Tensor, grey: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    """Tables of all planes: counts (B, T, 3, 256), grey (B, T, 1, 1), operation and argument (B,) -> (B, T, 3, 256) uint8."""
    operation, argument = operation[:, None, None, None], argument[:, None, None, None]
    whole = argument.int()
    dropped = (8 - whole).clamp(0, 8)  # bits
    level = torch.arange(256, device=counts.device, dtype=torch.int32)
    tables = level.to(torch.uint8).expand_as(counts)
    for number, table in (
        (AUTO_CONTRAST, _auto_contrast(counts, level)),
        (EQUALIZE, _equalize(counts, level)),
        (INVERT, 255 - level),
        (POSTERIZE, (level >> dropped) << dropped),
        (SOLARIZE, torch.where(level < whole, level, 255 - level)),
        (SOLARIZE_ADD, torch.where(level < 128, (level + whole).clamp(max=255), level)),
        (CONTRAST, blend(grey, level, argument)),
        (BRIGHTNESS, blend(torch.zeros_like(level), level, argument)),
    ):
        tables = torch.where(operation == number, table.to(torch.uint8), tables)
    return tables


def _auto_contrast(counts: Tensor, level: Tensor) -> Tensor:
    """The lowest level that occurs becomes 0, the highest 255; one level alone is unchanged."""
    low, high = _lowest(counts, level), _highest(counts, level)
    # Integers, where Pillow rounds twice in float64: exact and the same on every device.
    stretched = ((level - low) * 255 // (high - low).clamp(min=1)).clamp(0, 255)
    return torch.where(high > low, stretched, level)


def _equalize(counts: Tensor, level: Tensor) -> Tensor:
    """Levels spread so that each is about as frequent; one level alone, or too few pixels, are unchanged."""
    last = counts.gather(3, _highest(counts, level).long())
    step = (counts.sum(3, keepdim=True, dtype=torch.int32) - last) // 255
    below = counts.cumsum(3, dtype=torch.int32) - counts
    spread = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, spread, level)


def _lowest(counts: Tensor, level: Tensor) -> Tensor:
    return torch.where(counts > 0, level, 255).amin(3, keepdim=True)


def _highest(counts: Tensor, level: Tensor) -> Tensor:
    return torch.where(counts > 0, level, 0).amax(3, keepdim=True)
