"""The trained embedding of a clip, from features of a frozen encoder."""

from torch import Tensor, nn
from torch.nn import functional as F


class TemporalAdapter(nn.Module):
    """Features (B, times, F) -> embeddings (B, embedding) of unit length.

    A linear layer on each time patch, two residual convolutions along time, and two linear layers on the whole.

    Args:
        features: F.
        times: time patches.
        embedding: values of an embedding.
        width: channels of the convolutions.
        hidden: width of the layer before the embedding.
    """

    def __init__(self, features: int, times: int, embedding: int, *, width: int, hidden: int) -> None:
        super().__init__()
        self.each_time = nn.Sequential(nn.Linear(features, width), nn.GELU())
        self.along_time = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.out = nn.Sequential(
            nn.LayerNorm(times * width), nn.Linear(times * width, hidden), nn.GELU(), nn.Linear(hidden, embedding)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, times, F) -> (B, embedding)"""
        channels = self.each_time(features.float()).transpose(1, 2)
        for convolution in self.along_time:
            channels = channels + F.gelu(convolution(channels))
        return F.normalize(self.out(channels.flatten(1)), dim=1)
