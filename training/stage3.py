"""stage3: the masked autoencoder's encoder with a memory-augmented network, on class episodes.

The ablation trains three learners on the same episodes: memory on the pre-trained encoder, memory on the encoder as
initialised, and an LSTM without external memory on the pre-trained encoder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import ParamError
from training import params
from training.clips import Clip, Clips
from training.engine.checkpoints import History
from training.engine.device import pick_device
from training.engine.loop import Draw, Task, train
from training.engine.metrics import write_metrics
from training.engine.runs import stage3_run
from training.engine.setup import load_autoencoders, load_windows
from training.engine.statistics import mean_of_last
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.features import extract, feature_shape
from training.fewshot.learner import FewShotLearner
from training.fewshot.methods import METHODS
from training.params import Stage3

_LAST_STEPS = 50  # that the metrics' last values are means of


def main() -> None:
    """Read the shards and checkpoints/pretrain/; write checkpoints/stage3/, metrics/stage3.json and the curves."""
    settings = params.load()
    stage = settings.stage3
    clips = Clips(shards=settings.loader.shards)
    rows = clips.select(split="train")
    build_sampler(rows, stage)  # before any work
    autoencoders = load_autoencoders(settings, clips.size)
    config = autoencoders[True].config
    data = load_windows(clips, rows, config, settings.pretrain, "pretrain", settings.loader)
    sampler = build_sampler(data.rows, stage)
    classes = torch.tensor([clip.class_id for clip in data.rows])
    dense = torch.searchsorted(classes.unique(), classes)
    shape = feature_shape(config, stage.feature_grid)
    results = {}
    for pretrained, autoencoder in autoencoders.items():
        features = extract(autoencoder, data, windows=stage.windows, grid=stage.feature_grid)
        for method in METHODS:
            if method.trained and method.pretrained == pretrained:
                model = method.build(shape, int(dense.max()) + 1, stage).to(pick_device())
                task = episode_task(model, sampler, features, dense, stage)
                history = train(stage3_run(settings, method.name), model, stage.optimiser, task)
                results[method.name] = summarise(history)
    write_metrics("stage3", results)
    for name, values in results.items():
        print(f"stage3: {name}: accuracy {values['accuracy_last']:.1%} in the last round of training episodes")


def summarise(history: History) -> dict[str, float]:
    """A method's numbers in metrics/stage3.json."""
    return {
        "steps": len(history["loss"]),
        "loss_first": history["loss"][0],
        "loss_last": mean_of_last(history["loss"], _LAST_STEPS),
        "accuracy_last": mean_of_last(history["accuracy"], _LAST_STEPS),
    }


def build_sampler(rows: Sequence[Clip], settings: Stage3) -> EpisodeSampler:
    """The episodes of the training classes.

    Raises:
        ParamError: too few classes have enough clips.
    """
    classes = torch.tensor([clip.class_id for clip in rows])
    try:
        return EpisodeSampler(classes, settings.way, settings.instances)
    except ValueError as error:
        raise ParamError(f"params.yaml: stage3.way and stage3.instances ask for {error}") from None


class EpisodeBatch(NamedTuple):
    """Episodes of features."""

    clips: Tensor  # (B, rounds, way) positions in the data
    features: Tensor  # (B, rounds, way, times, F)
    labels: Tensor  # (B, rounds, way)


def episode_task(
    model: FewShotLearner, sampler: EpisodeSampler, features: Tensor, classes: Tensor, settings: Stage3
) -> Task[EpisodeBatch]:
    """Training a learner on random episodes; the accuracy in their last round is recorded beside the loss.

    Args:
        model: the learner.
        sampler: of the episodes.
        features: of the clips, (N, windows, times, F); a random window of each clip is used.
        classes: of the clips, (N,), from 0.
        settings: the batch size, and the weight of the class loss.
    """

    device = model.scale.device

    def draw(step: Draw) -> EpisodeBatch:
        episodes = sampler.draw(settings.optimiser.batch, step.generator)
        window = torch.randint(features.shape[1], episodes.clips.shape, generator=step.generator)
        clips, window, labels = map(step.share, (episodes.clips, window, episodes.labels))
        return EpisodeBatch(clips, features[clips, window].to(device), labels.to(device))

    def compute(batch: EpisodeBatch) -> dict[str, Tensor]:
        logits, embedded = model(batch.features, batch.labels)
        loss = F.cross_entropy(logits.flatten(0, 2), batch.labels.flatten())
        if settings.class_loss:
            truth = classes[batch.clips].flatten().to(device)
            loss = loss + settings.class_loss * model.class_loss(embedded.flatten(0, 2), truth)
        return {"loss": loss, "accuracy": (logits[:, -1].argmax(-1) == batch.labels[:, -1]).float().mean()}

    return Task(draw, compute)
