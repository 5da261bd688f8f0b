"""Embeddings of clips, from features of a frozen encoder."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fewshot.features import FeatureShape


class SpaceTimeAdapter(nn.Module):
    """Features of a window (B, times, places, F) -> an embedding of unit length at each time, (B, times, E).

    A linear layer at each place and time; a residual convolution over time, rows and columns; mean and maximum over places;
    two residual convolutions along time; and two linear layers at each time. Weights are shared by all places, so the
    embeddings depend little on where in the picture something moves.

    Args:
        shape: of the features.
        embedding: values of an embedding, E.
        width: channels of the convolution over space and time; there are twice as many along time.
        hidden: width of the layer before the embedding.
        dropout: probability that a channel, and a value before each of the last linear layers, is set to zero in training.
    """

    def __init__(self, shape: FeatureShape, embedding: int, *, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.side = shape.side
        self.each_place = nn.Linear(shape.values, width)
        self.channels = nn.Dropout3d(dropout)
        self.over_space = nn.Conv3d(width, width, 3, padding=1)
        self.along_time = nn.ModuleList(nn.Conv1d(2 * width, 2 * width, 3, padding=1) for _ in range(2))
        self.out = nn.Sequential(
            nn.LayerNorm(2 * width),
            nn.Dropout(dropout),
            nn.Linear(2 * width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, embedding),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, times, places, F) -> (B, times, E)"""
        maps = F.gelu(self.each_place(features.float())).permute(0, 3, 1, 2).unflatten(3, (self.side, self.side))
        maps = self.channels(maps)
        maps = maps + F.gelu(self.over_space(maps))
        channels = torch.cat([maps.mean((3, 4)), maps.amax((3, 4))], 1)  # (B, 2 * width, times)
        for convolution in self.along_time:
            channels = channels + F.gelu(convolution(channels))
        return F.normalize(self.out(channels.transpose(1, 2)), dim=2)


class FrameEmbedding(nn.Module):
    """Features of a clip's windows (B, windows, ...) -> frame-wise embeddings (B, times, E), means over windows at unit length."""

    def __init__(self, adapter: SpaceTimeAdapter) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, features: Tensor) -> Tensor:
        """(B, windows, times, places, F) -> (B, times, E)"""
        by_window = self.adapter(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return F.normalize(by_window.mean(1), dim=2)


class ClipEmbedding(nn.Module):
    """Features of a clip's windows -> embeddings (B, E), the mean of the frame-wise ones at unit length."""

    def __init__(self, frames: FrameEmbedding) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, features: Tensor) -> Tensor:
        """(B, windows, times, places, F) -> (B, E)"""
        return mean_frame(self.frames(features))


def mean_frame(embedded: Tensor) -> Tensor:
    """Frame-wise embeddings (..., times, E) -> clips' embeddings of unit length (..., E)."""
    return F.normalize(embedded.mean(-2), dim=-1)


class FlatEmbedding(nn.Module):
    """The features of all windows as one vector of unit length, without trained parameters."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, ...) -> (B, E)"""
        return F.normalize(features.float().flatten(1), dim=1)


Embedding = FrameEmbedding | ClipEmbedding | FlatEmbedding


class ClassifiedEmbedding(nn.Module):
    """A frame-wise embedding with a classifier of the training classes, by which it is trained.

    Args:
        embedding: of clips.
        values: of an embedding.
        classes: number of logits.
        scale: factor on cosine similarities.
    """

    def __init__(self, embedding: FrameEmbedding, values: int, classes: int, scale: float) -> None:
        super().__init__()
        self.embedding, self.scale = embedding, scale
        # Short, because the directions matter alone, and a step of AdamW turns a long vector little.
        self.weight = nn.Parameter(0.1 * torch.randn(classes, values))

    def forward(self, features: Tensor) -> Tensor:
        """(B, windows, times, places, F) -> logits (B, classes)"""
        return self.classify(self.embedding(features))

    def classify(self, embedded: Tensor) -> Tensor:
        """Frame-wise embeddings (B, times, E) -> logits (B, classes): scaled cosine similarities, means over time"""
        return self.scale * embedded.mean(1) @ F.normalize(self.weight, dim=1).T
