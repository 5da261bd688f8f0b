"""Augmentation of batches of clips on their device, by timm's definitions; every change is the same in all frames of a clip.

Example:
    augment = Augment(AugmentConfig())  # uint8: random resized crop, flip, RandAugment
    erase, mixup = RandomErasing(0.25), Mixup(classes=26)  # standardised floats
    clips = augment(clips, generator, directional(class_names)[labels])
    video, targets = mixup(erase(preprocess(clips, config), generator), labels, generator)

Each has `draw`, which makes the random numbers on the generator's device, and `apply`, a pure function of its input and the
draws that waits for no device and can be compiled.
"""

from training.data.augment.clips import Augment, AugmentConfig, AugmentDraws
from training.data.augment.directions import directional
from training.data.augment.erasing import ErasingDraws, RandomErasing
from training.data.augment.mix import MixDraws, Mixup

__all__ = [
    "Augment",
    "AugmentConfig",
    "AugmentDraws",
    "ErasingDraws",
    "MixDraws",
    "Mixup",
    "RandomErasing",
    "directional",
]
