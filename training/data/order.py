"""The order in which training visits clips: every clip once an epoch, shard by shard through a shuffle buffer.

The order is a function of the seed alone, so clips in memory, clips decoded on demand and clips streamed from shards come in
the same batches, and a resumed run continues in mid-epoch.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


class VisitOrder:
    """Positions of clips by visit, counted from 0 over all epochs.

    Args:
        shards: of each clip, (N,).
        seed: of the order.
        buffer: clips in the shuffle buffer; as many as there are clips, or more, give a uniformly random order.
    """

    def __init__(self, shards: Sequence[str], seed: int, buffer: int) -> None:
        self._by_shard: dict[str, list[int]] = {}
        for position, shard in enumerate(shards):
            self._by_shard.setdefault(shard, []).append(position)
        self._clips, self._seed, self._buffer = len(shards), seed, buffer
        self.epoch = lru_cache(2)(self._draw_epoch)  # a batch may hold the end of one and the start of the next

    def visits(self, first: int, count: int) -> Tensor:
        """Positions of the clips visited `first`, `first + 1`, ...: (count,)."""
        epochs = (self.epoch(visit // self._clips)[visit % self._clips] for visit in range(first, first + count))
        return torch.tensor(list(epochs))

    def shards(self, epoch: int) -> list[str]:
        """The shards in the order in which an epoch reads them."""
        names = list(self._by_shard)
        self._generator(epoch, "shards").shuffle(names)
        return names

    def _draw_epoch(self, epoch: int) -> tuple[int, ...]:
        """Positions of the clips in the order in which an epoch visits them; public as `epoch`."""
        positions = itertools.chain.from_iterable(self._by_shard[name] for name in self.shards(epoch))
        return tuple(shuffle_buffer(positions, self._buffer, self._generator(epoch, "clips")))

    def _generator(self, epoch: int, purpose: str) -> random.Random:
        return random.Random(f"{self._seed}/{epoch}/{purpose}")


def shuffle_buffer(items: Iterable[Item], size: int, generator: random.Random) -> Iterator[Item]:
    """Shuffle a stream: each item is swapped with a random one of the `size` items held; the last ones are shuffled."""
    held: list[Item] = []
    for item in items:
        if len(held) < size:
            held.append(item)
        else:
            place = generator.randrange(size)
            yield held[place]
            held[place] = item
    generator.shuffle(held)
    yield from held
