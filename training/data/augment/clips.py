"""Augmentation of uint8 clips on their device: random resized crop, horizontal flip and RandAugment, in timm's order."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from training.data.augment.crop import Interpolation, crop_resize, draw_boxes
from training.data.augment.rand_augment import RandAugment, RandAugmentDraws
from training.data.augment.select import apply_where


@dataclass(frozen=True)
class AugmentConfig:
    """Values are those of timm's training transforms, with a crop for action recognition.

    Attributes:
        crop_scale: bounds of the crop's area, as a fraction of the frame's; None = no crop.
        crop_ratio: bounds of the crop's width divided by its height.
        crop_interpolation: of the resize to the clip's own size, with antialiasing.
        flip: probability of a horizontal flip.
        rand_augment: timm's config string; None = none.
        warp_interpolation: of RandAugment's rotations, shears and translations.
        fill: colour of the pixels that a warp takes from outside the frame, RGB.
    """

    crop_scale: tuple[float, float] | None = (0.5, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop_interpolation: Interpolation = "bilinear"
    flip: float = 0.5
    rand_augment: str | None = "rand-m7-mstd0.5-inc1"
    warp_interpolation: Literal["random", "bilinear", "bicubic"] = "random"
    fill: tuple[int, int, int] = (128, 128, 128)

    def __post_init__(self) -> None:
        for name, bounds, highest in (
            ("crop_scale", self.crop_scale, 1.0),
            ("crop_ratio", self.crop_ratio, float("inf")),
        ):
            if bounds is not None and not 0 < bounds[0] <= bounds[1] <= highest:
                raise ValueError(f"{name} is {bounds}: must be two rising numbers above 0, at most {highest}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is {self.flip}: must be from 0 to 1")


class AugmentDraws(NamedTuple):
    """Random parameters of a batch of clips."""

    boxes: Tensor | None  # (B, 4) int64, crops: top, left, height, width
    flip: Tensor  # (B,) bool
    rand_augment: RandAugmentDraws | None


class Augment:
    """Random changes of clips, each the same in all frames of a clip.

    `draw` makes all random numbers, `apply` is a pure function of clips and draws without waits for the device; so a
    training step can compile it together with what follows:

        draws = augment.draw(clips, generator, directional)
        video = torch.compile(augment.apply)(clips, draws)

    Args:
        config: what is changed.

    Raises:
        ValueError: `config.rand_augment` is not a config of timm's RandAugment.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        self._policy = (
            RandAugment(config.rand_augment, interpolation=config.warp_interpolation, fill=config.fill)
            if config.rand_augment
            else None
        )

    def __call__(self, clips: Tensor, generator: Generator, directional: Tensor | None = None) -> Tensor:
        """`apply` with new draws."""
        return self.apply(clips, self.draw(clips, generator, directional))

    def draw(self, clips: Tensor, generator: Generator, directional: Tensor | None = None) -> AugmentDraws:
        """Parameters for clips of this shape, on the generator's device, which should be the clips'.

        Args:
            clips: (B, T, H, W, 3); their shape is used.
            generator: of all random numbers.
            directional: (B,) bool on the generator's device; clips that are True are not flipped.
        """
        batch, _, height, width, _ = clips.shape
        config, crop = self.config, None
        if config.crop_scale:
            crop = draw_boxes(batch, height, width, config.crop_scale, config.crop_ratio, generator)
        flip = torch.rand(batch, generator=generator, device=generator.device) < config.flip
        if directional is not None:
            flip &= ~directional
        return AugmentDraws(crop, flip, self._policy.draw(batch, generator) if self._policy else None)

    def apply(self, clips: Tensor, draws: AugmentDraws) -> Tensor:
        """The changed clips.

        Args:
            clips: (B, T, H, W, 3) uint8, RGB.
            draws: on the clips' device.

        Returns:
            (B, T, H, W, 3) uint8; in memory (B, T, 3, H, W), the order that a model's input needs.

        Raises:
            ValueError: `clips` has another shape or dtype.
        """
        if clips.dim() != 5 or clips.shape[-1] != 3 or clips.dtype != torch.uint8:
            raise ValueError(f"clips are {tuple(clips.shape)} {clips.dtype}: must be (B, T, H, W, 3) torch.uint8")
        planes = clips.permute(0, 1, 4, 2, 3)
        if draws.boxes is not None:
            size = (planes.shape[3], planes.shape[4])
            planes = crop_resize(planes, draws.boxes, draws.flip, size, self.config.crop_interpolation)
        else:
            planes = apply_where(draws.flip, _mirror, planes)
        if self._policy is not None and draws.rand_augment is not None:
            planes = self._policy.apply(planes, draws.rand_augment)
        return planes.permute(0, 1, 3, 4, 2)


def _mirror(planes: Tensor) -> Tensor:
    return planes.flip(4)
