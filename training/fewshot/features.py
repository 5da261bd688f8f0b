"""Clip features for few-shot learning: how the tokens of a frozen encoder change over a window."""

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from training.data.windows import ClipWindows
from training.models import MAE, ModelConfig
from training.models.preprocess import preprocess

_BATCH = 32
_EPS = 1e-6


@torch.no_grad()
def extract(model: MAE, data: ClipWindows, *, windows: int, grid: int) -> Tensor:
    """Features of evenly spread windows of every clip.

    The tokens of each time patch are averaged to at most `grid` x `grid` places. From these the mean over time is
    subtracted, which removes the static scene, and each window is scaled to unit deviation.

    Args:
        model: the autoencoder whose encoder is used, on the data's device.
        data: the clips.
        windows: windows of each clip.
        grid: places along each side that are kept.

    Returns:
        (clips, windows, time patches, values) half precision, on the host; see `feature_shape`.
    """
    model.eval()
    found = []
    total = -(-len(data) // _BATCH)
    for index in tqdm(data.batches(_BATCH), total=total, desc="encode clips", unit="batch", disable=None):
        views = []
        for number in range(windows):
            video = preprocess(data.even_windows(index, number, windows), model.config)
            views.append(temporal_change(_pool(model.encode(video).float(), model, grid)).half().cpu())
        found.append(torch.stack(views, 1))
    return torch.cat(found)


def feature_shape(config: ModelConfig, grid: int) -> tuple[int, int]:
    """Time patches, and values of each, of the features that `extract` returns for a model."""
    side = min(grid, config.grid.side)
    return config.grid.time_patches, side * side * config.dim


def temporal_change(features: Tensor) -> Tensor:
    """(B, times, F) less its mean over time, then divided by the deviation over time and features of each window."""
    change = features - features.mean(1, keepdim=True)
    return change / (change.std((1, 2), keepdim=True) + _EPS)


def _pool(tokens: Tensor, model: MAE, grid: int) -> Tensor:
    """Tokens (B, N, D) averaged over places -> (B, time patches, grid * grid * D)."""
    patches = model.config.grid
    maps = tokens.reshape(-1, patches.side, patches.side, tokens.shape[2]).permute(0, 3, 1, 2)
    pooled = F.adaptive_avg_pool2d(maps, min(grid, patches.side))
    return pooled.reshape(len(tokens), patches.time_patches, -1)
