"""The sections of params.yaml that shape the experiments, by stage; params.yaml explains each value and gives its source."""

from dataclasses import dataclass

from common.params import read
from common.sections import SECTIONS
from training.params.augmentation import ClipAugmentation, LabelledAugmentation
from training.params.evaluate import Ablation, Evaluate
from training.params.heads import (
    NAMED_HEADS,
    Adapter,
    ClassText,
    GradientSteps,
    HeadName,
    InContextTransformer,
    Memory,
    StackedLSTM,
    TemporalAlignment,
    TemporalRelations,
)
from training.params.optimiser import Optimiser
from training.params.pretrain import Autoencoder, Pretrain
from training.params.running import Compile, Loader, Storage, Train
from training.params.stage1 import Stage1
from training.params.stage2 import Stage2
from training.params.stage3 import END_TO_END, UNTRAINED, EncoderName, EndToEnd, FeatureKind, ShortEpisodes, Stage3

__all__ = [
    "END_TO_END",
    "NAMED_HEADS",
    "UNTRAINED",
    "Ablation",
    "Adapter",
    "Autoencoder",
    "ClassText",
    "ClipAugmentation",
    "Compile",
    "EncoderName",
    "EndToEnd",
    "Evaluate",
    "FeatureKind",
    "GradientSteps",
    "HeadName",
    "InContextTransformer",
    "LabelledAugmentation",
    "Loader",
    "Memory",
    "Optimiser",
    "Pretrain",
    "ShortEpisodes",
    "StackedLSTM",
    "Stage1",
    "Stage2",
    "Stage3",
    "Storage",
    "TemporalAlignment",
    "TemporalRelations",
    "Train",
    "TrainingParams",
    "load",
]


@dataclass(frozen=True)
class TrainingParams:
    """All sections that the training stages use."""

    loader: Loader
    train: Train
    pretrain: Pretrain
    stage1: Stage1
    stage2: Stage2
    stage3: Stage3
    evaluate: Evaluate
    ablation: Ablation


def load() -> TrainingParams:
    """Read and check params.yaml in the current folder.

    Raises:
        ParamError: naming the key, the value and what is allowed.
    """
    file = read(SECTIONS)
    return TrainingParams(
        loader=file.section("loader", Loader),
        train=file.section("train", Train),
        pretrain=file.section("pretrain", Pretrain),
        stage1=file.section("stage1", Stage1),
        stage2=file.section("stage2", Stage2),
        stage3=file.section("stage3", Stage3),
        evaluate=file.section("evaluate", Evaluate),
        ablation=file.section("ablation", Ablation),
    )
