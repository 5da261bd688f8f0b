"""Which tokens the encoder does not see: boolean masks (B, N), True = masked, the same exact count in every row."""

import torch
from torch import Tensor

from training.models.cubes import Grid


def random_mask(batch: int, grid: Grid, ratio: float, generator: torch.Generator) -> Tensor:
    """Space-time random (MAE-ST): `ratio` of all tokens, anywhere."""
    return _exactly(batch, grid.tokens, ratio, generator)


def tube_mask(batch: int, grid: Grid, ratio: float, generator: torch.Generator) -> Tensor:
    """Tubes (VideoMAE): `ratio` of the places, each masked at every moment."""
    return _exactly(batch, grid.places, ratio, generator).repeat(1, grid.times)


MASKS = {"random": random_mask, "tube": tube_mask}


def masked_count(tokens: int, ratio: float) -> int:
    """How many of `tokens` a ratio masks: the nearest whole number that leaves one visible and one masked.

    Raises:
        ValueError: the ratio is not between 0 and 1.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"a masking ratio of {ratio}: must lie between 0 and 1")
    return min(max(round(tokens * ratio), 1), tokens - 1)


def visible_index(mask: Tensor) -> Tensor:
    """Visible tokens of each row in ascending order, (B, K).

    Raises:
        ValueError: the rows show different numbers of tokens.
    """
    return _index(mask.logical_not())


def masked_index(mask: Tensor) -> Tensor:
    """Masked tokens of each row in ascending order, (B, N - K); raises as `visible_index`."""
    return _index(mask)


def _index(chosen: Tensor) -> Tensor:
    found = chosen.nonzero()[:, 1]
    if len(found) % len(chosen) or (chosen.sum(1) != len(found) // len(chosen)).any():
        raise ValueError("every row of a mask must mask the same number of tokens")
    return found.reshape(len(chosen), -1)


def _exactly(batch: int, tokens: int, ratio: float, generator: torch.Generator) -> Tensor:
    # Drawn on the generator's own device, which is the host unless the caller says otherwise: seeds mean the same everywhere.
    order = torch.rand(batch, tokens, generator=generator, device=generator.device).argsort(1)
    chosen = order[:, : masked_count(tokens, ratio)]
    return torch.zeros(batch, tokens, dtype=torch.bool, device=generator.device).scatter(1, chosen, True)
