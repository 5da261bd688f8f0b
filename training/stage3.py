"""stage3: few-shot learners on features of the masked autoencoder's encoder, as pre-trained and as initialised.

An embedding of each encoder's features is trained by classifying the training classes. On it the head of every method learns
from episodes of the training classes: a memory-augmented network, an LSTM without external memory, a transformer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from common.errors import ParamError
from training import params
from training.clips import Clip, Clips
from training.data.windows import ClipWindows
from training.engine.checkpoints import History
from training.engine.device import pick_device
from training.engine.loop import Draw, Task, train
from training.engine.metrics import write_metrics
from training.engine.runs import stage3_run
from training.engine.setup import load_autoencoders, load_windows
from training.engine.statistics import mean_of_last
from training.fewshot.adapter import ClassifiedEmbedding, ClipEmbedding
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.features import extract, feature_shape
from training.fewshot.head import Head
from training.fewshot.heads import build_head
from training.fewshot.methods import METHODS, build_classifier, embedding_run
from training.fewshot.predict import accuracies, embed_clips, embed_views, predict
from training.models import MAE
from training.params import EncoderName, Stage3, TrainingParams

_LAST_STEPS = 50  # that the metrics' last values are means of
_VALIDATION_EPISODES = 300


def main() -> None:
    """Read the shards and checkpoints/pretrain/; write checkpoints/stage3/, metrics/stage3.json and the curves."""
    settings = params.load()
    stage = settings.stage3
    clips = Clips(shards=settings.loader.shards)
    rows = clips.select(split="train")
    split_classes(rows, stage)  # fails before any work
    autoencoders = load_autoencoders(settings, clips.size)
    config = autoencoders["pretrained"].config
    data = load_windows(clips, rows, config, settings.pretrain, "pretrain", settings.loader)
    results: dict[str, dict[str, float]] = {}
    for encoder, autoencoder in autoencoders.items():
        results |= _train_on(encoder, autoencoder, data, settings)
    write_metrics("stage3", results)
    for name, values in results.items():
        print(f"stage3: {name}: accuracy {values['accuracy_last']:.1%} in the last training steps")


def _train_on(
    encoder: EncoderName, autoencoder: MAE, data: ClipWindows, settings: TrainingParams
) -> dict[str, dict[str, float]]:
    """Train the embedding of an encoder's features, and the heads of all methods on it; their metrics by run."""
    stage, device = settings.stage3, pick_device()
    methods = [METHODS[name] for name in stage.methods]
    methods = [method for method in methods if method.encoder == encoder and method.trains_embedding]
    if not methods:
        return {}
    features = extract(autoencoder, data, windows=stage.windows, grid=stage.feature_grid)
    training, measured = split_classes(data.rows, stage)
    model = build_classifier(feature_shape(autoencoder.config, stage.feature_grid), len(training.classes), stage)
    name = embedding_run(encoder)
    history = train(
        stage3_run(settings, name),
        model.to(device),
        stage.embedding_optimiser,
        class_task(model, features, training.clips, training.numbers, stage),
    )
    results = {name: summarise(history)}
    embedded = embed_views(model.embedding, features, device, views=stage.views, seed=stage.seed)
    for method in methods:
        head = build_head(method.head, stage).to(device)
        values: dict[str, float] = {}
        if method.trains_head:
            task = episode_task(head, training.sampler, embedded, stage)
            values = summarise(train(stage3_run(settings, method.name), head, stage.optimiser, task))
        if measured is not None:
            values |= validate(model.embedding, head, features, measured, stage)
        if values:
            results[method.name] = values
    return results


class TrainingClasses(NamedTuple):
    """Clips of some of the training classes, by their positions in the data."""

    classes: Tensor  # class ids, ascending
    clips: Tensor  # (n,) positions
    numbers: Tensor  # (n,) position of each clip's class in `classes`
    sampler: EpisodeSampler  # draws positions in the data


def split_classes(rows: Sequence[Clip], settings: Stage3) -> tuple[TrainingClasses, TrainingClasses | None]:
    """The classes to train on, and those to measure, which are drawn at random by the seed; None if there are none.

    Raises:
        ParamError: too few classes of either have enough clips for an episode.
    """
    ids = torch.tensor([clip.class_id for clip in rows])
    classes = ids.unique()
    order = torch.randperm(len(classes), generator=Generator().manual_seed(settings.seed))
    measured = classes[order[: settings.validation_classes]]
    training = classes[order[settings.validation_classes :]]
    found = _select(ids, training, settings, "")
    return found, _select(ids, measured, settings, "the validation classes: ") if settings.validation_classes else None


def _select(ids: Tensor, classes: Tensor, settings: Stage3, which: str) -> TrainingClasses:
    classes = classes.sort().values
    clips = torch.isin(ids, classes).nonzero()[:, 0]
    try:
        sampler = EpisodeSampler(ids, settings.way, settings.instances, only=classes)
    except ValueError as error:
        raise ParamError(f"params.yaml: stage3.way and stage3.instances ask for {which}{error}") from None
    return TrainingClasses(classes, clips, torch.searchsorted(classes, ids[clips]), sampler)


def summarise(history: History) -> dict[str, float]:
    """A run's numbers in metrics/stage3.json."""
    return {
        "steps": len(history["loss"]),
        "loss_first": history["loss"][0],
        "loss_last": mean_of_last(history["loss"], _LAST_STEPS),
        "accuracy_last": mean_of_last(history["accuracy"], _LAST_STEPS),
    }


def validate(
    embedding: ClipEmbedding, head: Head, features: Tensor, measured: TrainingClasses, settings: Stage3
) -> dict[str, float]:
    """Accuracy on classes that are not trained on, after one labelled clip per class and in the last round."""
    embedded = embed_clips(embedding, features, pick_device())
    episodes = measured.sampler.draw(_VALIDATION_EPISODES, Generator().manual_seed(settings.seed))
    by_round = accuracies(predict(head.eval(), embedded, episodes, settings.way), episodes).mean(0)
    return {"validation_1shot": float(by_round[1]), "validation_last": float(by_round[-1])}


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


def episode_task(head: Head, sampler: EpisodeSampler, embedded: Tensor, settings: Stage3) -> Task[EpisodeBatch]:
    """Training a head on random episodes; the accuracy in their last round is recorded beside the loss.

    Args:
        head: the head.
        sampler: of the episodes.
        embedded: views of all clips, (N, views, E); a random one of each clip is used.
        settings: the batch size.
    """
    embedded = embedded.cpu()
    device = next(head.parameters()).device

    def draw(step: Draw) -> EpisodeBatch:
        episodes = sampler.draw(settings.optimiser.batch, step.generator)
        view = torch.randint(embedded.shape[1], episodes.clips.shape, generator=step.generator)
        clips, view, labels = map(step.share, (episodes.clips, view, episodes.labels))
        return EpisodeBatch(embedded[clips, view].to(device), labels.to(device))

    def compute(batch: EpisodeBatch) -> dict[str, Tensor]:
        logits = head.rounds(batch.embedded, F.one_hot(batch.labels, settings.way).to(batch.embedded.dtype))
        loss = F.cross_entropy(logits.flatten(0, 2), batch.labels.flatten())
        return {"loss": loss, "accuracy": (logits[:, -1].argmax(-1) == batch.labels[:, -1]).float().mean()}

    return Task(draw, compute)
