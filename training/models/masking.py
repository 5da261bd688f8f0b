"""Which tokens the encoder does not see: boolean masks (B, N), True = masked, the same exact count in every row."""

import torch
from torch import Tensor

from training.models.tubelets import Grid


def random_mask(batch: int, grid: Grid, ratio: float, generator: torch.Generator) -> Tensor:
    """Space-time random (MAE-ST): `ratio` of all tokens, anywhere."""
    return _exactly(batch, grid.tokens, ratio, generator)


def tube_mask(batch: int, grid: Grid, ratio: float, generator: torch.Generator) -> Tensor:
    """Tubes (VideoMAE): `ratio` of the places, each masked at every moment."""
    return _exactly(batch, grid.places, ratio, generator).repeat(1, grid.times)


def frame_mask(batch: int, grid: Grid, ratio: float, generator: torch.Generator) -> Tensor:
    """Whole moments: `ratio` of them, every place of each."""
    return _exactly(batch, grid.times, ratio, generator).repeat_interleave(grid.places, 1)


def running_cells(batch: int, grid: Grid, ratio: float, generator: torch.Generator) -> Tensor:
    """VideoMAEv2's choice for the decoder (arXiv 2303.16727): in every cell of 2x2 places `ratio` of them, moving on in time.

    (B, N) True where the decoder does not look; the cell's pattern starts at a place drawn for each clip.

    Raises:
        ValueError: the places do not fall into cells, or a cell of four cannot have that share.
    """
    hidden = round(4 * ratio)
    if grid.side % 2 or not 0 < hidden < 4:
        raise ValueError(f"{grid.side}x{grid.side} places and a ratio of {ratio}: cells are 2x2 and hide 1 to 3 of 4")
    circle = torch.tensor([[0, 1], [3, 2]]).repeat(grid.side // 2, grid.side // 2).flatten()
    start = torch.randint(4, (batch, 1, 1), generator=generator, device=generator.device)
    place = circle.to(start.device) + start + torch.arange(grid.times, device=start.device)[:, None]
    return (place % 4 < hidden).flatten(1)


MASKS = {"random": random_mask, "tube": tube_mask, "frame": frame_mask}


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
    if not len(found):
        raise ValueError("a mask must leave at least one token visible and hide at least one")
    if len(found) % len(chosen) or (chosen.sum(1) != len(found) // len(chosen)).any():
        raise ValueError("every row of a mask must mask the same number of tokens")
    return found.reshape(len(chosen), -1)


def _exactly(batch: int, tokens: int, ratio: float, generator: torch.Generator) -> Tensor:
    # Drawn on the generator's own device, which is the host unless the caller says otherwise: seeds mean the same everywhere.
    order = torch.rand(batch, tokens, generator=generator, device=generator.device).argsort(1)
    chosen = order[:, : masked_count(tokens, ratio)]
    return torch.zeros(batch, tokens, dtype=torch.bool, device=generator.device).scatter(1, chosen, True)
