"""Clip features for few-shot learning: the mean of an encoder's tokens, or how they change over a window."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from common.errors import WorkError
from training.data.windows import ClipWindows
from training.models import MAE, ModelConfig
from training.models.encoder import Encoder
from training.models.preprocess import preprocess
from training.params import FeatureKind

_BATCH = 32
_EPS = 1e-6


class FeatureShape(NamedTuple):
    """Shape of a window's features, (times, side * side, values)."""

    times: int
    side: int
    values: int


@torch.no_grad()
def extract(
    model: MAE | Encoder, data: ClipWindows, *, windows: int, grid: int, kind: FeatureKind = "change"
) -> Tensor:
    """Features of evenly spread windows of every clip, see `window_features`.

    Args:
        model: whose encoder is used, on the data's device.
        data: the clips.
        windows: windows of each clip.
        grid: places along each side that are kept.
        kind: of the features.

    Returns:
        (clips, windows, times, places, values) half precision, on the host; see `feature_shape`.

    Raises:
        WorkError: features are infinite or NaN; the message names the clip.
    """
    model.eval()
    shape = feature_shape(model.config, grid, kind)
    found = torch.empty(len(data), windows, shape.times, shape.side**2, shape.values, dtype=torch.half)
    total = -(-len(data) // _BATCH)
    for index in tqdm(data.batches(_BATCH), total=total, desc="encode clips", unit="batch", disable=None):
        for number in range(windows):
            frames = data.even_windows(index, number, windows)
            found[index, number] = window_features(model, frames, grid, kind).half().cpu()
        finite = found[index].isfinite().flatten(1).all(1)
        if not finite.all():
            clip = data.rows[int(index[~finite][0])].clip_id
            raise WorkError(
                f"features of clip {clip} are not finite: the encoder's weights, or their precision, are at fault"
            )
    return found


def window_features(model: MAE | Encoder, frames: Tensor, grid: int, kind: FeatureKind = "change") -> Tensor:
    """Features of windows, through which gradients reach the encoder.

    Of the kind `mean` they are the mean of all tokens. For `change`, the tokens of each time patch are averaged to at most
    `grid` x `grid` places. From these the mean over time is subtracted, which removes the static scene, and each window is
    scaled to unit deviation.

    Args:
        model: whose encoder is used.
        frames: (B, T, S, S, 3) uint8, on the model's device.
        grid: places along each side that are kept.
        kind: of the features.

    Returns:
        (B, times, places, values) single precision; see `feature_shape`.
    """
    tokens = model.encode(preprocess(frames, model.config)).float()
    if kind == "mean":
        encoder = model.encoder if isinstance(model, MAE) else model
        return encoder.pool(tokens)[:, None, None]
    return temporal_change(_pool(tokens, model.config, feature_shape(model.config, grid)))


def feature_shape(config: ModelConfig, grid: int, kind: FeatureKind = "change") -> FeatureShape:
    """Shape of the features that `extract` returns for a window."""
    if kind == "mean":
        return FeatureShape(1, 1, config.dim)
    return FeatureShape(config.grid.time_patches, min(grid, config.grid.side), config.dim)


def temporal_change(features: Tensor) -> Tensor:
    """(B, times, places, F) less its mean over time, then divided by the deviation over each window."""
    change = features - features.mean(1, keepdim=True)
    return change / (change.std((1, 2, 3), keepdim=True) + _EPS)


def _pool(tokens: Tensor, config: ModelConfig, shape: FeatureShape) -> Tensor:
    """Tokens (B, N, D) averaged over places -> (B, times, places, D)."""
    patches = config.grid
    maps = tokens.reshape(-1, patches.side, patches.side, tokens.shape[2]).permute(0, 3, 1, 2)
    pooled = F.adaptive_avg_pool2d(maps, shape.side).flatten(2).transpose(1, 2)
    return pooled.reshape(len(tokens), shape.times, -1, tokens.shape[2])
