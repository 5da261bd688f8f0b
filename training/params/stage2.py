"""The section `stage2`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.params import Fraction, Range
from training.params.augmentation import ClipAugmentation, LabelledAugmentation
from training.params.optimiser import Optimiser
from training.params.pretrain import Autoencoder


@dataclass(frozen=True)
class Stage2(Autoencoder):
    """A masked autoencoder on TinyVIRAT's training clips, and classifiers with its encoder.

    Args:
        loss: `cross_entropy` on a clip's first label; `bce`, binary cross entropy of each label; or `label_sets`, cross
            entropy on the sets of labels that occur in training (label powerset).
        label_smoothing: probability that is spread over all classes; with `bce` targets move towards 0.5 by half of it.
        validation: share of the training clips that is not trained on, but measured `validations` times.
        pretrain_augment: of the autoencoder's clips.
        finetune_augment: of the classifiers' clips.
    """

    loss: Literal["cross_entropy", "bce", "label_sets"]
    label_smoothing: Fraction
    validation: Annotated[float, Range(0.0, 0.5)]
    pretrain: Optimiser
    pretrain_augment: ClipAugmentation
    finetune: Optimiser
    finetune_augment: LabelledAugmentation

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, optimiser in (("pretrain", self.pretrain), ("finetune", self.finetune)):
            if optimiser.validations and not self.validation:
                raise ValueError(f"validation is 0: must be above 0 for {name}.validations")
