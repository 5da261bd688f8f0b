"""Masks over tokens, (B, N) bool, True = masked; every row masks the same number of tokens.

Example:
    masking = Masking("tube", ratio=0.9, decoder_ratio=0.5)
    mask = masking(batch, grid, generator)
    decoder_mask = masking.decoder_mask(batch, grid, generator)  # None without a decoder_ratio
    loss = model(video, mask, decoder_mask).loss
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from training.models.tubelets import Grid


def random_mask(batch: int, grid: Grid, ratio: float, generator: Generator) -> Tensor:
    """Space-time random masking (MAE-ST, arXiv 2205.09113): `ratio` of all tokens."""
    return _mask_exactly(batch, grid.tokens, ratio, generator)


def tube_mask(batch: int, grid: Grid, ratio: float, generator: Generator) -> Tensor:
    """Tube masking (VideoMAE, arXiv 2203.12602): `ratio` of the space patches, the same ones in every time patch."""
    return _mask_exactly(batch, grid.space_patches, ratio, generator).repeat(1, grid.time_patches)


def frame_mask(batch: int, grid: Grid, ratio: float, generator: Generator) -> Tensor:
    """Frame masking: `ratio` of the time patches, with all their space patches."""
    return _mask_exactly(batch, grid.time_patches, ratio, generator).repeat_interleave(grid.space_patches, 1)


def running_cells(batch: int, grid: Grid, ratio: float, generator: Generator) -> Tensor:
    """Running cell masking (MAR, arXiv 2207.11660), with which VideoMAE V2 masks its decoder (arXiv 2303.16727).

    In every cell of 2x2 space patches `ratio` of them are masked; each time patch moves the pattern on by one patch
    around the cell. The first pattern is random for each clip.

    Raises:
        ValueError: the side of the grid is odd, or `ratio` masks none or all four patches of a cell.
    """
    masked = round(4 * ratio)
    if grid.side % 2:
        raise ValueError(f"a grid of {grid.side}x{grid.side} space patches: running cells need an even side")
    if not 0 < masked < 4:
        raise ValueError(f"a running cell ratio of {ratio}: must mask 1 to 3 of the 4 patches of a cell")
    clockwise = torch.tensor([[0, 1], [3, 2]]).repeat(grid.side // 2, grid.side // 2).flatten()
    start = torch.randint(4, (batch, 1, 1), generator=generator, device=generator.device)
    step = torch.arange(grid.time_patches, device=start.device).unsqueeze(1)
    return ((clockwise.to(start.device) + start + step) % 4 < masked).flatten(1)


_MASKS = {"random": random_mask, "tube": tube_mask, "frame": frame_mask}


@dataclass(frozen=True)
class Masking:
    """A masking strategy: call it for the mask of a batch.

    Args:
        kind: `random` (any tokens), `tube` (the same space patches at all times) or `frame` (whole time patches).
        ratio: share of the tokens hidden from the encoder.
        decoder_ratio: share of the tokens that the decoder does not reconstruct, by `running_cells`: 0.25, 0.5 or 0.75;
            None: the decoder reconstructs every masked token.

    Raises:
        ValueError: the kind is unknown, or a ratio is impossible.
    """

    kind: Literal["random", "tube", "frame"]
    ratio: float
    decoder_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _MASKS:
            raise ValueError(f"a masking of {self.kind!r}: must be one of {', '.join(_MASKS)}")
        if not 0 < self.ratio < 1:
            raise ValueError(f"a masking ratio of {self.ratio}: must lie between 0 and 1")
        if self.decoder_ratio not in (None, 0.25, 0.5, 0.75):
            raise ValueError(f"a decoder masking ratio of {self.decoder_ratio}: must be 0.25, 0.5, 0.75 or null")

    def __call__(self, batch: int, grid: Grid, generator: Generator) -> Tensor:
        """The encoder's mask, (batch, N) bool on the generator's device, True = hidden from the encoder.

        Raises:
            ValueError: the grid is too small to have both masked and visible tokens.
        """
        return _MASKS[self.kind](batch, grid, self.ratio, generator)

    def decoder_mask(self, batch: int, grid: Grid, generator: Generator) -> Tensor | None:
        """The decoder's mask, (batch, N) bool, True = not reconstructed; None without a `decoder_ratio`.

        Raises:
            ValueError: the side of the grid is odd.
        """
        return None if self.decoder_ratio is None else running_cells(batch, grid, self.decoder_ratio, generator)


def masked_count(tokens: int, ratio: float) -> int:
    """Number of tokens to mask: `ratio` of `tokens`, rounded, but at least one and not all.

    Raises:
        ValueError: the ratio is not between 0 and 1, or there are fewer than two tokens.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"a masking ratio of {ratio}: must lie between 0 and 1")
    if tokens < 2:
        raise ValueError("masking needs at least two patches to choose from, the grid has one")
    return min(max(round(tokens * ratio), 1), tokens - 1)


def _mask_exactly(batch: int, choices: int, ratio: float, generator: Generator) -> Tensor:
    """(batch, choices) bool, True for `ratio` of each row, chosen at random."""
    # Random numbers come from the generator's device, usually the host: a seed gives the same masks on every machine.
    order = torch.rand(batch, choices, generator=generator, device=generator.device).argsort(1)
    chosen = order[:, : masked_count(choices, ratio)]
    return torch.zeros(batch, choices, dtype=torch.bool, device=generator.device).scatter(1, chosen, True)
