"""Filmstrips in the order of training's visits, from shards that webdataset reads one after the other."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from training.clips import Clip
from training.data.order import VisitOrder
from training.shards import Shards

_FILMSTRIPS = ("jpg", "webp")  # suffixes of samples
_AHEAD = 16  # filmstrips read ahead of the one that is needed

Item = TypeVar("Item")


class ShardStream:
    """Filmstrips by visit, each shard read once an epoch from its first byte to its last.

    Filmstrips that are visited later than they are read are held; there are never more of them than the order's shuffle
    buffer has places. A run that is resumed in mid-epoch reads the epoch's shards again, but for those it has finished.

    Args:
        shards: where they are read.
        rows: the clips; others in the shards are passed over.
        order: of the visits, by position in `rows`.
    """

    def __init__(self, shards: Shards, rows: Sequence[Clip], order: VisitOrder) -> None:
        self.order = order
        self._shards, self._rows = shards, rows
        self._positions = {clip.clip_id: position for position, clip in enumerate(rows)}
        self._pool = ThreadPoolExecutor(1)
        self._epoch = -1
        self._passed = 0  # visits of the epoch that are over

    def read(self, visit: int) -> tuple[int, bytes | None]:
        """The position of a visit's clip, and its filmstrip as it is in its shard; None if it is not found there.

        Visits have to ascend; an earlier one starts its epoch again.
        """
        epoch, turn = divmod(visit, len(self._rows))
        if epoch != self._epoch or turn < self._passed:
            self._start(epoch, turn)
        for passed in self._order[self._passed : turn]:
            self._held.pop(passed, None)
        self._passed = turn
        position = self._order[turn]
        while position not in self._held and self._current <= self._numbers[self._rows[position].shard]:
            self._hold_next()
        return position, self._held.get(position)

    def _start(self, epoch: int, turn: int) -> None:
        """Begin to read the shards of an epoch that have clips to visit from `turn` on."""
        self._epoch, self._passed, self._order = epoch, turn, self.order.epoch(epoch)
        self._turns = {position: number for number, position in enumerate(self._order)}
        needed = {self._rows[position].shard for position in self._order[turn:]}
        names = [name for name in self.order.shards(epoch) if name in needed]
        self._numbers = {name: number for number, name in enumerate(names)}
        self._held: dict[int, bytes] = {}  # by position
        self._current = 0  # number of the shard that is read
        self._samples = _read_ahead(self._read(names), _AHEAD, self._pool)

    def _hold_next(self) -> None:
        """Read one more sample; hold it if its visit is still to come."""
        sample = next(self._samples, None)
        if sample is None:
            self._current = len(self._numbers)
            return
        self._current = self._numbers[sample["__url__"]]
        position = self._positions[sample["__key__"]]
        if self._rows[position].shard == sample["__url__"] and self._turns[position] >= self._passed:
            self._held[position] = next(sample[suffix] for suffix in _FILMSTRIPS if suffix in sample)

    def _read(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The samples of shards; one that is missing, cut or damaged ends there."""
        # Imported here: machines that never stream need no webdataset.
        from webdataset import DataPipeline, SimpleShardList, ignore_and_continue
        from webdataset.tariterators import group_by_keys, tar_file_expander

        def open_shards(urls: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            for url in urls:
                try:
                    stream = self._shards.open(url["url"])
                except Exception:  # noqa: BLE001 (each file system has errors of its own; see `StreamedFrames`)
                    continue
                with stream:
                    yield url | {"stream": stream}

        def is_wanted(name: str) -> bool:
            clip_id, _, suffix = name.partition(".")
            return clip_id in self._positions and suffix in _FILMSTRIPS

        yield from DataPipeline(
            SimpleShardList(names),
            open_shards,
            lambda shards: tar_file_expander(shards, handler=ignore_and_continue, select_files=is_wanted),
            lambda files: group_by_keys(files, handler=ignore_and_continue),
        )


def _read_ahead(items: Iterator[Item], count: int, pool: ThreadPoolExecutor) -> Iterator[Item]:
    """`items`, the next `count` of them already read in the thread of `pool`."""
    ahead: deque[Future[Item | None]] = deque()
    try:
        while True:
            while len(ahead) < count:
                ahead.append(pool.submit(next, items, None))
            item = ahead.popleft().result()
            if item is None:
                return
            yield item
    finally:
        for future in ahead:
            future.cancel()
