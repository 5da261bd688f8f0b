"""stage3: few-shot learners on features of the masked autoencoder's encoder: frozen, fine-tuned, or trained from scratch.

On a frozen encoder an embedding of its features is trained by classifying the training classes; on it the head of every method
learns from episodes of the training classes. Methods on the other encoders are trained end to end, from episodes of clips.
"""

from dataclasses import replace
from functools import partial

from training import params
from training.clips import Clips
from training.engine.metrics import write_metrics
from training.engine.runs import stage3_run
from training.engine.setup import build_autoencoder, load_autoencoders, load_windows
from training.fewshot.classes import split_classes, training_rows
from training.fewshot.methods import METHODS
from training.fewshot.text import class_names
from training.fewshot.trainer import FrozenFeatures, Trainer
from training.models import MAE
from training.params import TrainingParams

_ORDER = ("pretrained", "finetuned", "random", "scratch")  # so that features of one encoder are in memory at a time


def main() -> None:
    """Read the shards and checkpoints/pretrain/; write checkpoints/stage3/, metrics/stage3.json and the curves."""
    settings = params.load()
    stage = settings.stage3
    clips = Clips(shards=settings.loader.shards)
    rows = training_rows(clips, stage)
    split_classes(rows, stage)  # fails before any work
    if any(METHODS[name].named for name in stage.methods):
        class_names(rows, stage.text)  # the same, where a sentence encoder cannot be read
    autoencoders = load_autoencoders(settings, clips.size)
    data = load_windows(clips, rows, autoencoders["pretrained"].config, settings.pretrain, "pretrain", settings.loader)
    features = FrozenFeatures(autoencoders, data, windows=stage.windows, grid=stage.feature_grid, kind=stage.features)
    trainer = Trainer(stage, features, partial(stage3_run, settings), partial(fresh_autoencoder, settings, clips.size))
    for method in sorted((METHODS[name] for name in stage.methods), key=lambda method: _ORDER.index(method.encoder)):
        trainer.train(method)
    write_metrics("stage3", trainer.metrics)
    for name, values in trainer.metrics.items():
        if "accuracy_last" in values:
            print(f"stage3: {name}: accuracy {values['accuracy_last']:.1%} in the last training steps")


def fresh_autoencoder(settings: TrainingParams, size: int) -> MAE:
    """The autoencoder as initialised by stage 3's seed."""
    return build_autoencoder(replace(settings.pretrain, seed=settings.stage3.seed), "pretrain", size)
