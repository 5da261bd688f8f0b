"""Embeddings of clips, from features of a frozen encoder."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fewshot.features import FeatureShape


class SpaceTimeTrunk(nn.Module):
    """What the adapters share: features of a window (B, times, places, F) -> channels at each time.

    A linear layer at each place and time; a residual convolution over time, rows and columns; mean and maximum over places;
    and two residual convolutions along time. Weights are shared by all places, so the channels depend little on where in the
    picture something moves.

    Args:
        shape: of the features.
        width: channels of the convolution over space and time; there are twice as many in the end.
        dropout: probability that a channel is set to zero in training.
    """

    def __init__(self, shape: FeatureShape, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.side = shape.side
        self.each_place = nn.Linear(shape.values, width)
        self.channels = nn.Dropout3d(dropout)
        self.over_space = nn.Conv3d(width, width, 3, padding=1)
        self.along_time = nn.ModuleList(nn.Conv1d(2 * width, 2 * width, 3, padding=1) for _ in range(2))

    def by_time(self, features: Tensor) -> Tensor:
        """(B, times, places, F) -> (B, 2 * width, times)"""
        maps = F.gelu(self.each_place(features.float())).permute(0, 3, 1, 2).unflatten(3, (self.side, self.side))
        maps = self.channels(maps)
        maps = maps + F.gelu(self.over_space(maps))
        channels = torch.cat([maps.mean((3, 4)), maps.amax((3, 4))], 1)  # (B, 2 * width, times)
        for convolution in self.along_time:
            channels = channels + F.gelu(convolution(channels))
        return channels


class SpaceTimeAdapter(SpaceTimeTrunk):
    """Features of a window (B, times, places, F) -> embeddings (B, embedding) of unit length, by two linear layers on all times.

    Args:
        shape: of the features.
        embedding: values of an embedding.
        width: channels of the convolution over space and time.
        hidden: width of the layer before the embedding.
        dropout: probability that a channel, and a value before each of the last linear layers, is set to zero in training.
    """

    def __init__(self, shape: FeatureShape, embedding: int, *, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(shape, width, dropout)
        self.out = _perceptron(2 * width * shape.times, hidden, embedding, dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(B, times, places, F) -> (B, embedding)"""
        return F.normalize(self.out(self.by_time(features).flatten(1)), dim=1)


class FrameAdapter(SpaceTimeTrunk):
    """Features of a window (B, times, places, F) -> an embedding of unit length for each time, (B, times, embedding).

    The linear layers, and all arguments, are those of `SpaceTimeAdapter`, but the layers see one time, and are the same for all.
    """

    def __init__(self, shape: FeatureShape, embedding: int, *, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(shape, width, dropout)
        self.out = _perceptron(2 * width, hidden, embedding, dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(B, times, places, F) -> (B, times, embedding)"""
        return F.normalize(self.out(self.by_time(features).transpose(1, 2)), dim=2)


def _perceptron(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(inputs),
        nn.Dropout(dropout),
        nn.Linear(inputs, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )


class ClipEmbedding(nn.Module):
    """Features of a clip's windows (B, windows, ...) -> embeddings (B, E), the mean over windows at unit length.

    With a `FrameAdapter` embeddings are frame-wise, (B, times, E), each the mean over windows.
    """

    def __init__(self, adapter: SpaceTimeAdapter | FrameAdapter) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, features: Tensor) -> Tensor:
        """(B, windows, times, places, F) -> (B, E) or (B, times, E)"""
        by_window = self.adapter(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return F.normalize(by_window.mean(1), dim=-1)


class FlatEmbedding(nn.Module):
    """The features of all windows as one vector of unit length, without trained parameters."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, ...) -> (B, E)"""
        return F.normalize(features.float().flatten(1), dim=1)


class ClassifiedEmbedding(nn.Module):
    """An embedding with a classifier of the training classes, by which it is trained.

    Args:
        embedding: of clips.
        values: of an embedding.
        classes: number of logits.
        scale: factor on cosine similarities.
    """

    def __init__(self, embedding: ClipEmbedding, values: int, classes: int, scale: float) -> None:
        super().__init__()
        self.embedding, self.scale = embedding, scale
        # Short, because the directions matter alone, and a step of AdamW turns a long vector little.
        self.weight = nn.Parameter(0.1 * torch.randn(classes, values))

    def forward(self, features: Tensor) -> Tensor:
        """(B, windows, times, places, F) -> logits (B, classes), scaled cosine similarities"""
        return self.classify(self.embedding(features))

    def classify(self, embedded: Tensor) -> Tensor:
        """Embeddings (B, E), or frame-wise ones (B, times, E), whose logits' mean is taken -> logits (B, classes)"""
        by_frame = self.scale * embedded @ F.normalize(self.weight, dim=1).T
        return by_frame if by_frame.dim() == 2 else by_frame.mean(1)
