"""Augmentation of training batches: random numbers for a step's whole batch are drawn ahead, the changes made in the step."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from common.errors import ParamError
from training.clips import Clip
from training.data.augment import (
    Augment,
    AugmentConfig,
    AugmentDraws,
    ErasingDraws,
    MixDraws,
    Mixup,
    RandomErasing,
    directional,
)
from training.models import ModelConfig
from training.models.preprocess import preprocess
from training.params import ClipAugmentation, LabelledAugmentation


class Draws(NamedTuple):
    """Random parameters of a batch; None where the step has no such change."""

    clips: AugmentDraws | None = None
    erasing: ErasingDraws | None = None
    mix: MixDraws | None = None


class Augmentation:
    """The changes of a section of params.yaml.

    `draw` makes all random numbers on the host; `video` and `mix` are pure functions without waits for the device.

    Args:
        settings: of params.yaml.
        section: the key of `settings`, for error messages.
        classes: of the labels that are mixed; None: clips without labels.
        label_smoothing: probability spread over all classes.
        multi_label: labels are (B, classes) of 0 and 1, and not class numbers (B,).

    Raises:
        ParamError: the section's `rand_augment` is unknown to timm.
    """

    def __init__(
        self,
        settings: ClipAugmentation,
        section: str,
        *,
        classes: int | None = None,
        label_smoothing: float = 0.0,
        multi_label: bool = False,
    ) -> None:
        config = AugmentConfig(
            crop_scale=None if settings.crop_scale is None else (settings.crop_scale[0], settings.crop_scale[1]),
            crop_ratio=(settings.crop_ratio[0], settings.crop_ratio[1]),
            flip=settings.flip or 0.0,
            rand_augment=settings.rand_augment,
        )
        try:
            self._augment = Augment(config)
        except ValueError as error:
            raise ParamError(f"params.yaml: {section}.{error}") from None
        self._changes_clips = config.crop_scale is not None or config.flip > 0 or config.rand_augment is not None
        self._erasing: RandomErasing | None = None
        self._mixup: Mixup | None = None
        self.mixes = False
        if classes is None:
            return
        alpha = cutmix = chance = 0.0
        if isinstance(settings, LabelledAugmentation):
            alpha, cutmix = settings.mixup or 0.0, settings.cutmix or 0.0
            chance = settings.mix_probability if alpha or cutmix else 0.0
            self._erasing = RandomErasing(settings.erase) if settings.erase else None
        self.mixes = chance > 0  # clips of a batch in pairs
        self._mixup = Mixup(
            classes,
            mixup_alpha=alpha,
            cutmix_alpha=cutmix,
            probability=chance,
            label_smoothing=label_smoothing,
            multi_label=multi_label,
        )

    def draw(self, frames: torch.Size, config: ModelConfig, generator: Generator) -> Draws:
        """Parameters of a batch.

        Args:
            frames: shape of its clips, (B, T, H, W, 3).
            config: of the model that the clips are preprocessed for.
            generator: on the host.
        """
        video = torch.Size((frames[0], 3, frames[1], config.image_size, config.image_size))
        return Draws(
            self._augment.draw(torch.empty(()).expand(frames), generator) if self._changes_clips else None,
            None if self._erasing is None else self._erasing.draw(video, generator),
            self._mixup.draw(video, generator) if self._mixup is not None and self.mixes else None,
        )

    def video(self, frames: Tensor, draws: Draws, config: ModelConfig) -> Tensor:
        """Model input (B, 3, T, S, S), standardised, from frames (B, T, H, W, 3) uint8: changed, preprocessed, erased."""
        if draws.clips is not None:
            frames = self._augment.apply(frames, draws.clips)
        video = preprocess(frames, config)
        return video if self._erasing is None or draws.erasing is None else self._erasing.apply(video, draws.erasing)

    def mix(self, video: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """The video, mixed in pairs if there are draws for it, and the probabilities (B, classes) of its labels.

        Raises:
            ValueError: the augmentation was built without `classes`.
        """
        if self._mixup is None:
            raise ValueError("classes is None: labels cannot be mixed")
        if draws.mix is not None:
            return self._mixup.apply(video, labels, draws.mix)
        return video, self._mixup.smooth(labels)


def directional_clips(rows: Sequence[Clip]) -> Tensor:
    """Which clips have a class or a label with a left or right in it, so that they must not be mirrored: (N,) bool."""
    return directional([" ".join((clip.class_name, *clip.tinyvirat_labels)) for clip in rows])
