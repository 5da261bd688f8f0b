"""Class episodes for few-shot learning. Knows clips only as row numbers, and nothing of models.

Every episode draws its own classes, its own clips and its own assignment of classes to label slots, so that nothing
but the episode itself tells which slot a class has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Episodes:
    """A batch of episodes: which clip is shown at each step, and its label slot; `(B, S)`, or in rounds `(B, k, way)`."""

    rows: Tensor
    slots: Tensor


class EpisodeSampler:
    """Draws episodes from clips with known classes.

    Args:
        classes: class of each row, `(N,)`.
        way: classes in an episode.
        shots: clips of each class in an episode; classes with fewer clips are left out.

    Raises:
        ValueError: fewer than `way` classes have `shots` clips.
    """

    def __init__(self, classes: Tensor, way: int, shots: int, seed: int) -> None:
        by_class = [(classes == number).nonzero()[:, 0] for number in classes.unique()]
        self._by_class = [rows for rows in by_class if len(rows) >= shots]
        if len(self._by_class) < way:
            raise ValueError(
                f"{len(self._by_class)} classes have {shots} clips or more: too few for {way}-way episodes"
            )
        self._way, self._shots = way, shots
        self._generator = Generator().manual_seed(seed)

    def use(self, generator: Generator) -> None:
        """Draw from a generator of the caller's from now on."""
        self._generator = generator

    def sequences(self, batch: int) -> Episodes:
        """Episodes as one shuffled sequence of `way * shots` clips (Santoro et al. 2016)."""
        drawn = [self._sequence() for _ in range(batch)]
        return _stack(drawn)

    def rounds(self, batch: int) -> Episodes:
        """Episodes in rounds of one clip of every class: `rows` and `slots` are `(B, shots, way)`."""
        drawn = []
        for _ in range(batch):
            rows, slots = self._draw()
            order = torch.rand(self._shots, self._way, generator=self._generator).argsort(1)
            drawn.append((rows.T.gather(1, order), slots.T.gather(1, order)))
        return _stack(drawn)

    def _sequence(self) -> tuple[Tensor, Tensor]:
        return self._shuffled(*self._draw())

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Rows and slots `(way, shots)`; the order in which classes are drawn is their order of slots."""
        chosen = torch.randperm(len(self._by_class), generator=self._generator)[: self._way]
        rows = []
        for number in chosen.tolist():
            members = self._by_class[number]
            rows.append(members[torch.randperm(len(members), generator=self._generator)[: self._shots]])
        slots = torch.arange(self._way)[:, None].expand(-1, self._shots)
        return torch.stack(rows), slots

    def _shuffled(self, rows: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        order = torch.randperm(rows.numel(), generator=self._generator)
        return rows.flatten()[order], slots.flatten()[order]


def _stack(drawn: Sequence[tuple[Tensor, Tensor]]) -> Episodes:
    return Episodes(torch.stack([rows for rows, _ in drawn]), torch.stack([slots for _, slots in drawn]))
