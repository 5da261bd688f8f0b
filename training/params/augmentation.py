"""Random changes of training clips."""

from dataclasses import dataclass
from typing import Annotated

from common.params import Fraction, Range


@dataclass(frozen=True)
class ClipAugmentation:
    """Random changes of training clips by timm's definitions, the same in all frames of a clip. None: no such change.

    Args:
        crop_scale: bounds of the area of a random crop, as a fraction of the frame's; the crop is resized to the frame's size.
        crop_ratio: bounds of its width divided by its height.
        flip: probability of a horizontal flip; clips with a left or right in their labels are never flipped.
        rand_augment: timm's config string, such as rand-m7-mstd0.5-inc1.
    """

    crop_scale: tuple[Fraction, ...] | None = None
    crop_ratio: tuple[Annotated[float, Range(0.01, 100.0)], ...] = (3 / 4, 4 / 3)
    flip: Fraction | None = None
    rand_augment: str | None = None

    def __post_init__(self) -> None:
        for name, bounds in (("crop_scale", self.crop_scale), ("crop_ratio", self.crop_ratio)):
            if bounds is not None and not (len(bounds) == 2 and 0 < bounds[0] <= bounds[1]):
                raise ValueError(f"{name} is {list(bounds)}: must be two rising numbers above 0")


@dataclass(frozen=True)
class LabelledAugmentation(ClipAugmentation):
    """Random changes for training a classifier.

    Args:
        erase: share of the clips in which a random rectangle is replaced by noise.
        mixup: alpha, of the Beta distribution by which pairs of clips are added.
        cutmix: alpha, of the Beta distribution of the area of a rectangle taken from another clip.
        mix_probability: share of the batches that are mixed; with both mixup and cutmix, by one or the other.
    """

    erase: Fraction | None = None
    mixup: Annotated[float, Range(0.0, 100.0)] | None = None
    cutmix: Annotated[float, Range(0.0, 100.0)] | None = None
    mix_probability: Fraction = 1.0
