"""Encoder, embedding and head trained together from episodes of clips, with gradients through the encoder."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from training.data.windows import ClipWindows
from training.engine.device import to_device
from training.engine.task import Draw, Task
from training.fewshot.adapter import ClassifiedEmbedding, FlatEmbedding, FrameEmbedding, mean_frame
from training.fewshot.classes import TrainingClasses
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.features import FeatureShape, window_features
from training.fewshot.head import Head
from training.fewshot.heads import Inputs, build_head
from training.fewshot.learner import FewShotLearner
from training.fewshot.methods import Method, build_classifier, head_inputs
from training.fewshot.tasks import episode_losses, validate
from training.models import MAE
from training.models.encoder import ENCODER_LAYERS, Encoder, LayerPatterns
from training.params import FeatureKind, Stage3

_CLIPS = 32  # that are encoded at a time to be measured


class EndToEndLearner(nn.Module):
    """An encoder, the embedding of its features, and a head.

    Args:
        encoder: of the windows.
        embedding: of features: with a classifier of the training classes, or flat.
        head: classifies the embeddings.
        inputs: what the head works on.
        grid: places along each side of the features.
        kind: of the features.
        micro_batch: windows that are encoded at a time; None: all.
    """

    def __init__(
        self,
        encoder: Encoder,
        embedding: ClassifiedEmbedding | FlatEmbedding,
        head: Head,
        *,
        inputs: Inputs,
        grid: int,
        kind: FeatureKind,
        micro_batch: int | None,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.encoder, self.embedding, self.head = encoder, embedding, head
        self.grid, self.kind, self.micro_batch = grid, kind, micro_batch

    def embed(self, frames: Tensor) -> Tensor:
        """Embeddings of windows, frame-wise or flat: (n, T, S, S, 3) uint8 -> (n, ...).

        With `micro_batch` the activations of one part are held at a time: every part is encoded without a graph, and again
        when the gradient with respect to its embeddings is known. Dropout is the same both times. The gradient is that of all
        windows at once (gradient caching: Gao et al. 2021, arXiv 2101.06983; here by activation checkpoints).
        """
        if self.micro_batch is None:
            return self._embed(frames)
        parts = [checkpoint(self._embed, part, use_reentrant=False) for part in frames.split(self.micro_batch)]
        return torch.cat(parts)

    def _embed(self, frames: Tensor) -> Tensor:
        embedded: Tensor = self._without_classifier()(self.features(frames).unsqueeze(1))
        return embedded

    def features(self, frames: Tensor) -> Tensor:
        """(n, T, S, S, 3) uint8 -> (n, times, places, values), see `window_features`."""
        return window_features(self.encoder, frames, self.grid, self.kind)

    def learner(self, way: int) -> FewShotLearner:
        """The learner on features of this encoder."""
        return FewShotLearner(head_inputs(self._without_classifier(), self.inputs), self.head, way)

    def group_matcher(self, *, coarse: bool = False) -> LayerPatterns:  # noqa: ARG002 (timm passes it)
        """The layers of parameters, for timm's layer decay; parameters that match none belong to embedding and head."""
        return ENCODER_LAYERS

    def _without_classifier(self) -> FrameEmbedding | FlatEmbedding:
        return self.embedding.embedding if isinstance(self.embedding, ClassifiedEmbedding) else self.embedding


def build_end_to_end(
    method: Method, autoencoder: MAE, shape: FeatureShape, classes: int, settings: Stage3
) -> EndToEndLearner:
    """A method's learner with the encoder of `autoencoder`; embedding and head are freshly initialised.

    Args:
        method: the method.
        autoencoder: whose encoder is trained; its decoder is not used.
        shape: of a window's features.
        classes: number of training classes.
        settings: of stage 3.
    """
    embedding = build_classifier(shape, classes, settings) if method.trains_embedding else FlatEmbedding()
    return EndToEndLearner(
        autoencoder.encoder,
        embedding,
        build_head(method.head, settings),
        inputs=method.inputs,
        grid=settings.feature_grid,
        kind=settings.features,
        micro_batch=settings.end_to_end.micro_batch,
    )


class ClipBatch(NamedTuple):
    """Episodes of clips, all on the training device but `clips`."""

    frames: Tensor  # (B, rounds, way, T, S, S, 3) uint8
    labels: Tensor  # (B, rounds, way), of the episode
    classes: Tensor  # (B, rounds, way), from 0
    clips: Tensor  # (B, rounds, way) positions in the data


def end_to_end_task(
    model: EndToEndLearner,
    data: ClipWindows,
    training: TrainingClasses,
    measured: TrainingClasses | None,
    settings: Stage3,
    batch: int,
) -> Task[ClipBatch]:
    """Training on random episodes, of a random window of each clip.

    The loss is that of the head's predictions, and `class_weight` times that of classifying each clip into the training
    classes, if the embedding has a classifier.

    Args:
        model: the encoder, embedding and head.
        data: windows of the clips.
        training: the classes that are trained on.
        measured: those that are measured by validations.
        settings: `way`, and how encoder and head are trained.
        batch: episodes of a step.
    """
    sampler = EpisodeSampler(
        torch.tensor([clip.class_id for clip in data.rows]),
        settings.way,
        settings.end_to_end.instances,
        clips=training.clips,
    )
    numbers = torch.zeros(len(data), dtype=torch.long)
    numbers[training.clips] = training.numbers

    def draw(step: Draw) -> ClipBatch:
        episodes = sampler.draw(batch, step.generator)
        starts = data.random_starts(episodes.clips.flatten(), step.generator).view_as(episodes.clips)
        clips, starts, labels = map(step.share, (episodes.clips, starts, episodes.labels))
        frames = data.windows(clips.flatten(), starts.flatten()).unflatten(0, clips.shape)
        return ClipBatch(frames, *to_device((labels, numbers[clips]), data.device), clips)

    def compute(drawn: ClipBatch) -> dict[str, Tensor]:
        embedded = model.embed(drawn.frames.flatten(0, 2))
        shown = mean_frame(embedded) if model.inputs == "clips" else embedded
        values = episode_losses(model.head, shown.unflatten(0, drawn.labels.shape), drawn.labels, settings.way)
        if not isinstance(model.embedding, ClassifiedEmbedding):
            return values
        logits, classes = model.embedding.classify(embedded), drawn.classes.flatten()
        by_class = F.cross_entropy(logits, classes, label_smoothing=settings.label_smoothing)
        values["loss"] = values["loss"] + settings.end_to_end.class_weight * by_class
        return values | {"class_accuracy": (logits.argmax(1) == classes).float().mean()}

    def names(drawn: ClipBatch) -> list[str]:
        return [data.rows[position].clip_id for position in drawn.clips.flatten().tolist()]

    def measure() -> Mapping[str, float]:
        assert measured is not None
        return validate(model.head, _embed_some(model, data, measured.clips, settings.windows), measured, settings)

    clips = settings.way * settings.end_to_end.instances
    return Task(draw, compute, names, measure if measured is not None else None, clips)


@torch.no_grad()
def _embed_some(model: EndToEndLearner, data: ClipWindows, clips: Tensor, windows: int) -> Tensor:
    """Embeddings of the clips at positions `clips`, from evenly spread windows; those of the others are zero: (N, ...)."""
    embedding = model.learner(1).embedding
    found = []
    for index in clips.split(_CLIPS):
        frames = [data.even_windows(index, number, windows) for number in range(windows)]
        found.append(embedding(torch.stack([model.features(part) for part in frames], 1)))
    embedded = torch.cat(found)
    return embedded.new_zeros(len(data), *embedded.shape[1:]).index_copy(0, clips.to(embedded.device), embedded)
