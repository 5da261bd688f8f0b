"""What the learners of stage 3 train on: classes of clips for an embedding, episodes of embeddings for a head."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from training.engine.task import Draw, Task
from training.fewshot.adapter import ClassifiedEmbedding
from training.fewshot.classes import TrainingClasses
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.head import Head
from training.fewshot.predict import episode_logits
from training.fewshot.text import ClassNames
from training.params import Stage3

_VALIDATION_EPISODES = 300


class ClassBatch(NamedTuple):
    """Windows of clips with their classes."""

    features: Tensor  # (B, 1, times, places, F)
    classes: Tensor  # (B,)


def class_task(
    model: ClassifiedEmbedding, features: Tensor, clips: Tensor, classes: Tensor, settings: Stage3
) -> Task[ClassBatch]:
    """Training an embedding by classifying a random window of random clips.

    Args:
        model: the embedding and the classifier.
        features: of all clips, (N, windows, times, places, F).
        clips: positions of the clips to train on, (n,).
        classes: their classes, (n,), from 0.
        settings: the batch size and the label smoothing.
    """
    device = model.weight.device

    def draw(step: Draw) -> ClassBatch:
        size = settings.embedding_optimiser.batch
        chosen = torch.randint(len(clips), (size,), generator=step.generator)
        window = torch.randint(features.shape[1], (size,), generator=step.generator)
        chosen, window = step.share(chosen), step.share(window)
        return ClassBatch(features[clips[chosen], window].unsqueeze(1).to(device), classes[chosen].to(device))

    def compute(batch: ClassBatch) -> dict[str, Tensor]:
        logits = model(batch.features)
        loss = F.cross_entropy(logits, batch.classes, label_smoothing=settings.label_smoothing)
        return {"loss": loss, "accuracy": (logits.argmax(1) == batch.classes).float().mean()}

    return Task(draw, compute)


class EpisodeBatch(NamedTuple):
    """Episodes of embeddings."""

    embedded: Tensor  # (B, rounds, way, E)
    labels: Tensor  # (B, rounds, way)


def episode_task(
    head: Head,
    sampler: EpisodeSampler,
    embedded: Tensor,
    settings: Stage3,
    measured: tuple[TrainingClasses, Tensor] | None = None,
) -> Task[EpisodeBatch]:
    """Training a head on random episodes, short ones first; the accuracy in their last round is recorded beside the loss.

    Args:
        head: the head.
        sampler: of the episodes.
        embedded: views of all clips, (N, views, E); a random one of each clip is used.
        settings: the batch size, and the episodes of the first steps.
        measured: classes that are measured by validations, and embeddings of all clips, (N, E).
    """
    embedded = embedded.cpu()
    device = next(head.parameters()).device
    short = settings.short_episodes

    def draw(step: Draw) -> EpisodeBatch:
        shots = short.instances if step.step < short.share * settings.optimiser.steps else None
        episodes = sampler.draw(settings.optimiser.batch, step.generator, shots=shots)
        view = torch.randint(embedded.shape[1], episodes.clips.shape, generator=step.generator)
        clips, view, labels = map(step.share, (episodes.clips, view, episodes.labels))
        return EpisodeBatch(embedded[clips, view].to(device), labels.to(device))

    def compute(batch: EpisodeBatch) -> dict[str, Tensor]:
        return episode_losses(head, batch.embedded, batch.labels, settings.way)

    if measured is None:
        return Task(draw, compute)
    classes, clips = measured
    return Task(draw, compute, validate=lambda: validate(head, clips, classes, settings))


def episode_losses(head: Head, embedded: Tensor, labels: Tensor, way: int) -> dict[str, Tensor]:
    """`loss`, the cross entropy of all predictions; `accuracy`, in the last round.

    Args:
        head: the head.
        embedded: (B, rounds, way, E).
        labels: (B, rounds, way).
        way: classes in an episode.
    """
    logits = head.rounds(embedded, F.one_hot(labels, way).to(embedded.dtype))
    loss = F.cross_entropy(logits.flatten(0, 2), labels.flatten())
    return {"loss": loss, "accuracy": (logits[:, -1].argmax(-1) == labels[:, -1]).float().mean()}


def validate(
    head: Head, embedded: Tensor, measured: TrainingClasses, settings: Stage3, names: ClassNames | None = None
) -> Mapping[str, float]:
    """The loss on classes that are not trained on, and accuracies after one labelled clip per class and in the last round.

    Args:
        head: is put in eval mode.
        embedded: of all clips, (N, E).
        measured: the classes.
        settings: `way`, and the seed of the episodes.
        names: of the clips' classes, for a head that is told them.
    """
    episodes = measured.sampler.draw(_VALIDATION_EPISODES, Generator().manual_seed(settings.seed))
    logits = episode_logits(head.eval(), embedded, episodes, settings.way, names)
    loss = F.cross_entropy(logits.flatten(0, 2), episodes.labels.flatten())
    by_round = (logits.argmax(-1) == episodes.labels).float().mean((0, 2))
    return {"loss": float(loss), "validation_1shot": float(by_round[1]), "validation_last": float(by_round[-1])}
