"""Features of clips: the tokens of an encoder as one vector for each time patch, of the clips and of jittered ones."""

import torch
from torch import Generator, Tensor

from benchmarks.centred import CentredWindows
from benchmarks.jitter import Jitter
from training.models import MAE
from training.models.preprocess import preprocess

_JITTER = Jitter(angle=0.26, shift=0.06, scale=0.15)
_BATCH = 32  # clips that are encoded at a time


def frame_tokens(model: MAE, frames: Tensor) -> Tensor:
    """The tokens of all places at each time, (B, T, S, S, 3) uint8 -> (B, times, 1, places * D).

    In a crop around the hand the place of a token tells which part of the hand it shows; stage 3's embedding of separate places
    takes their mean.
    """
    tokens = model.encode(preprocess(frames, model.config))
    return tokens.reshape(len(tokens), model.config.grid.time_patches, 1, -1)


@torch.no_grad()
def token_views(model: MAE, data: CentredWindows, number: int) -> Tensor:
    """The `frame_tokens` of each clip's middle window as it is and of jittered ones, (N, number, times, 1, places * D)."""
    generator, found = Generator().manual_seed(0), []
    for index in data.batches(_BATCH):
        jittered = [data.jittered(index, _JITTER, generator) for _ in range(number - 1)]
        shown = torch.stack([data.even_windows(index, 0, 1), *jittered], 1)
        found.append(frame_tokens(model, shown.flatten(0, 1)).unflatten(0, shown.shape[:2]))
    return torch.cat(found)


def standardised(seen: Tensor, unseen: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, views, times, 1, F) and (M, ...) less their mean over the N clips, views and times, by their deviation.

    The deviations are raised by a twentieth of that of all values, so that values that hardly change stay small.
    """
    over = (0, 1, 2, 3)
    mean, scale = seen.mean(over), seen.std(over) + 0.05 * seen.std()
    return (seen - mean) / scale, (unseen - mean) / scale
