"""RandAugment (Cubuk et al., arXiv 1909.13719) by timm's definitions and config strings, one policy per clip.

Example:
    policy = RandAugment("rand-m7-mstd0.5-inc1")  # that of VideoMAE's fine-tuning
    planes = policy.apply(planes, policy.draw(len(planes), generator))
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from timm.data.auto_augment import rand_augment_transform
from torch import Generator, Tensor

from training.data.augment import affine, point
from training.data.augment.enhance import color, sharpness
from training.data.augment.select import apply_where

_COLOR, _SHARPNESS = 9, 10  # beside the numbers of point and affine; 0 is no operation


class RandAugmentDraws(NamedTuple):
    """Parameters of L operations in a row for each clip, (B, L) each."""

    choice: Tensor  # int64, position in the policy's list of operations; -1 = none
    level: Tensor  # float32, magnitude
    sign: Tensor  # float32, 1 or -1
    bicubic: Tensor  # bool, interpolation of a warp; False = bilinear


class RandAugment:
    """Random operations on clips of uint8; all frames of a clip get the same ones.

    Args:
        config: timm's string, such as "rand-m7-mstd0.5-inc1": two operations in a row (n), each out of 15 and applied with
            probability 0.5 (p), of magnitude 7 (m) with standard deviation 0.5 (mstd), cut to 0 to 10 (mmax); with inc1
            all are stronger at a higher magnitude. timm.data.auto_augment.rand_augment_transform documents all keys.
        interpolation: of rotation, shear and translation; "random" draws one of the two, as timm does by default.
        fill: colour of pixels from outside the frame, RGB.

    Raises:
        ValueError: timm does not know the config, or it needs weighted choice or an operation that is not here.
    """

    def __init__(
        self,
        config: str,
        *,
        interpolation: Literal["random", "bilinear", "bicubic"] = "random",
        fill: tuple[int, int, int] = (128, 128, 128),
    ) -> None:
        try:
            policy = rand_augment_transform(config, {"img_mean": fill})
        except (AssertionError, KeyError, ValueError) as error:
            raise ValueError(f"rand_augment is {config!r}: must be like 'rand-m7-mstd0.5-inc1' ({error!r})") from None
        self.names = tuple(operation.name for operation in policy.ops)
        unknown = [name for name in self.names if name not in _OPERATIONS]
        if unknown or policy.choice_weights is not None:
            raise ValueError(
                f"rand_augment is {config!r}: operations must be drawn with equal chances from {', '.join(_OPERATIONS)}"
            )
        self.layers = int(policy.num_layers)
        self.probability = float(policy.ops[0].prob)
        self.magnitude = float(policy.ops[0].magnitude)
        self.deviation = float(policy.ops[0].magnitude_std)
        self.highest = float(policy.ops[0].magnitude_max or 10)
        self.interpolation, self.fill = interpolation, fill

    def draw(self, batch: int, generator: Generator) -> RandAugmentDraws:
        """Parameters for `batch` clips, on the generator's device."""
        shape, device = (batch, self.layers), generator.device
        chance, which, side, taps, spread = torch.rand((5, *shape), generator=generator, device=device)
        choice = (which * len(self.names)).long().clamp(max=len(self.names) - 1)
        if self.deviation == float("inf"):
            level = spread * self.magnitude
        else:
            level = self.magnitude + self.deviation * torch.randn(shape, generator=generator, device=device)
        bicubic = taps < 0.5 if self.interpolation == "random" else torch.full_like(choice, self._bicubic).bool()
        sign = torch.where(side < 0.5, -1.0, 1.0)
        return RandAugmentDraws(
            torch.where(chance < self.probability, choice, -1), level.clamp(0, self.highest), sign, bicubic
        )

    def apply(self, planes: Tensor, draws: RandAugmentDraws) -> Tensor:
        """(B, T, 3, H, W) uint8 -> the same shape; a pure function without waits for the device."""
        for choice, level, sign, bicubic in zip(*(values.unbind(1) for values in draws), strict=True):
            operation = torch.zeros_like(choice)
            argument = torch.zeros_like(level)
            for position, name in enumerate(self.names):
                number, to_argument = _OPERATIONS[name]
                operation = torch.where(choice == position, number, operation)
                argument = torch.where(choice == position, to_argument(level, sign), argument)
            planes = apply_operation(planes, operation, argument, bicubic, self.fill)
        return planes

    @property
    def _bicubic(self) -> bool:
        return self.interpolation == "bicubic"


def apply_operation(
    planes: Tensor, operation: Tensor, argument: Tensor, bicubic: Tensor, fill: tuple[int, int, int]
) -> Tensor:
    """One operation per clip.

    The 15 operations are four kinds: a table of levels, a blend with grey, a blend with a smoothed frame and an affine map.
    A batch is computed once for each kind.

    Args:
        planes: (B, T, 3, H, W) uint8.
        operation: (B,) int, a number of `_OPERATIONS`; 0 = none.
        argument: (B,) float32, of the operation.
        bicubic: (B,) bool, interpolation of a warp.
        fill: colour of pixels from outside the frame, RGB.
    """

    def warp_filled(planes: Tensor, operation: Tensor, argument: Tensor, bicubic: Tensor) -> Tensor:
        return affine.warp(planes, operation, argument, bicubic, fill)

    is_point = _within(operation, point.POINT_OPERATIONS)
    is_warp = _within(operation, affine.WARPS)
    planes = apply_where(is_point, point.point_operation, planes, operation, argument)
    planes = apply_where(operation == _COLOR, color, planes, argument)
    planes = apply_where(operation == _SHARPNESS, sharpness, planes, argument)
    return apply_where(is_warp, warp_filled, planes, operation, argument, bicubic)


def _within(operation: Tensor, numbers: range) -> Tensor:
    return (operation >= numbers.start) & (operation < numbers.stop)


def _no_argument(level: Tensor, _sign: Tensor) -> Tensor:
    return torch.zeros_like(level)


def _signed(highest: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda level, sign: sign * level / 10 * highest


def _enhance(level: Tensor, _sign: Tensor) -> Tensor:
    return level / 10 * 1.8 + 0.1


def _enhance_increasing(level: Tensor, sign: Tensor) -> Tensor:
    return (1 + sign * (level / 10 * 0.9)).clamp(min=0.1)


def _whole(start: int, slope: int, bounds: tuple[int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    """start + slope * level / 10, the second term truncated."""
    return lambda level, _sign: (start + (level / 10 * slope).trunc()).clamp(*bounds)


# timm's NAME_TO_OP and LEVEL_TO_ARG: number of the operation, and its argument from magnitude and sign.
_OPERATIONS: dict[str, tuple[int, Callable[[Tensor, Tensor], Tensor]]] = {
    "AutoContrast": (point.AUTO_CONTRAST, _no_argument),
    "Equalize": (point.EQUALIZE, _no_argument),
    "Invert": (point.INVERT, _no_argument),
    "Rotate": (affine.ROTATE, _signed(30)),
    "Posterize": (point.POSTERIZE, _whole(0, 4, (0, 8))),
    "PosterizeIncreasing": (point.POSTERIZE, _whole(4, -4, (0, 8))),
    "Solarize": (point.SOLARIZE, _whole(0, 256, (0, 256))),
    "SolarizeIncreasing": (point.SOLARIZE, _whole(256, -256, (0, 256))),
    "SolarizeAdd": (point.SOLARIZE_ADD, _whole(0, 110, (0, 128))),
    "Color": (_COLOR, _enhance),
    "ColorIncreasing": (_COLOR, _enhance_increasing),
    "Contrast": (point.CONTRAST, _enhance),
    "ContrastIncreasing": (point.CONTRAST, _enhance_increasing),
    "Brightness": (point.BRIGHTNESS, _enhance),
    "BrightnessIncreasing": (point.BRIGHTNESS, _enhance_increasing),
    "Sharpness": (_SHARPNESS, _enhance),
    "SharpnessIncreasing": (_SHARPNESS, _enhance_increasing),
    "ShearX": (affine.SHEAR_X, _signed(0.3)),
    "ShearY": (affine.SHEAR_Y, _signed(0.3)),
    "TranslateXRel": (affine.TRANSLATE_X, _signed(0.45)),
    "TranslateYRel": (affine.TRANSLATE_Y, _signed(0.45)),
}
