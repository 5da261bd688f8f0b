"""Predictions of a head over episodes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.engine.device import one_thread
from training.fewshot.adapter import Embedding
from training.fewshot.episodes import Episodes
from training.fewshot.head import Head
from training.fewshot.text import ClassNames

_EPISODES, _CLIPS = 20, 64  # of a batch


@torch.no_grad()
def embed_clips(embedding: Embedding, features: Tensor, device: torch.device) -> Tensor:
    """Embeddings of all clips, on the device: (N, windows, times, places, F) -> (N, E), frame-wise (N, times, E)."""
    embedding.eval()
    return torch.cat([embedding(part.to(device)) for part in features.split(_CLIPS)])


@torch.no_grad()
def embed_views(embedding: Embedding, features: Tensor, device: torch.device, *, views: int, seed: int) -> Tensor:
    """Embeddings of single windows with dropout, the windows in turn: (N, windows, times, places, F) -> (N, views, E)."""
    torch.manual_seed(seed)  # of dropout: a stage that is resumed trains on the same views
    embedding.train()
    windows = [number % features.shape[1] for number in range(views)]
    found = [
        torch.stack([embedding(part[:, number : number + 1].to(device)) for number in windows], 1)
        for part in features.split(_CLIPS)
    ]
    embedding.eval()
    return torch.cat(found)


@torch.no_grad()
def predict(head: Head, embedded: Tensor, episodes: Episodes, way: int, names: ClassNames | None = None) -> Tensor:
    """The label that a head predicts for every clip of each round, from the rounds before it.

    Args:
        head: in eval mode.
        embedded: of all clips, (N, E), on the head's device.
        episodes: of these clips.
        way: classes in an episode.
        names: of the clips' classes, for a head that is told them.

    Returns:
        (episodes, rounds, way), on the host.
    """
    return episode_logits(head, embedded, episodes, way, names).argmax(-1)


@one_thread()
@torch.no_grad()
def episode_logits(
    head: Head, embedded: Tensor, episodes: Episodes, way: int, names: ClassNames | None = None
) -> Tensor:
    """The logits that `predict` takes the largest of, (episodes, rounds, way, way), on the host."""
    found = []
    for clips, labels in zip(episodes.clips.split(_EPISODES), episodes.labels.split(_EPISODES), strict=True):
        shown = embedded[clips.to(embedded.device)]
        known = F.one_hot(labels, way).to(shown)
        told = head if names is None else head.named(names.of(Episodes(clips, labels)).to(shown))
        found.append(told.rounds(shown, known).cpu())
    return torch.cat(found)


def accuracies(predicted: Tensor, episodes: Episodes) -> Tensor:
    """Share of right predictions in each round of each episode, (episodes, rounds)."""
    return (predicted == episodes.labels).float().mean(2)
