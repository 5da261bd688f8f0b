"""Frames decoded from filmstrips whenever they are needed."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from common.errors import WorkError
from training.clips import Clip, Clips
from training.data.mapped import local_processes
from training.data.order import VisitOrder
from training.data.stream import ShardStream
from training.data.transfer import copy_to

BAD_IN_A_ROW = 100  # unreadable clips after which the shards, not the clips, are at fault
_LINES = 10  # one for each unreadable clip; after them, one for each hundred


class DecodedFrames:
    """Frames of clips that are read by offset, and decoded in threads."""

    def __init__(self, clips: Clips, rows: Sequence[Clip], device: torch.device) -> None:
        self.rows: Sequence[Clip] = tuple(rows)
        self._clips, self._device = clips, device
        self._pool = ThreadPoolExecutor(decoder_threads(local_processes()))
        self._held: dict[int, NDArray[np.uint8] | WorkError] = {}  # of the last batch, by position
        self._bad: set[int] = set()
        self._in_a_row = 0

    def visit(self, order: VisitOrder, visits: Iterable[int]) -> None:
        """See `Frames.visit`; nothing is read ahead here."""

    def take(self, index: Tensor, ticks: Tensor) -> Tensor:
        """See `Frames.take`; a clip that occurs several times is decoded once.

        Raises:
            WorkError: a clip cannot be read.
        """
        held = self._decode(index)
        windows = []
        for position, wanted in zip(index.tolist(), ticks.numpy(), strict=True):
            frames = held[position]
            if isinstance(frames, WorkError):
                raise frames
            windows.append(frames[wanted])
        return copy_to(torch.from_numpy(np.stack(windows)), self._device)

    def readable(self, index: Tensor) -> Tensor:
        """See `Frames.readable`; unreadable clips are counted in a line.

        Raises:
            WorkError: a hundred clips in a row cannot be read.
        """
        held, chosen = self._decode(index), index.tolist()
        for place, position in enumerate(index.tolist()):
            error = held[position]
            if isinstance(error, WorkError):
                self._in_a_row += 1
                self._report(position, error)
                stop_if_all_bad(self._in_a_row, len(self.rows), error)
                chosen[place] = self._next_readable(position, error)
            else:
                self._in_a_row = 0
        return torch.tensor(chosen)

    def _next_readable(self, position: int, error: WorkError) -> int:
        """The first readable clip after `position`: the same one in every batch, share of a batch, and storage."""
        for steps in range(1, BAD_IN_A_ROW):
            following = (position + steps) % len(self.rows)
            if following not in self._held:
                self._held[following] = self._decode_one(following)
            found = self._held[following]
            if not isinstance(found, WorkError):
                return following
            self._report(following, found)
            stop_if_all_bad(steps + 1, len(self.rows), found)
        raise error

    def _decode(self, index: Tensor) -> dict[int, NDArray[np.uint8] | WorkError]:
        """The frames or the error of each clip, by position."""
        wanted = dict.fromkeys(index.tolist())
        held = {position: self._held[position] for position in wanted if position in self._held}
        missing = [position for position in wanted if position not in held]
        self._held = held | dict(zip(missing, self._pool.map(self._decode_one, missing), strict=True))
        return self._held

    def _decode_one(self, position: int) -> NDArray[np.uint8] | WorkError:
        try:
            return self._clips.decode(self.rows[position])
        except WorkError as error:
            return error

    def _report(self, position: int, error: WorkError) -> None:
        if position in self._bad:
            return
        self._bad.add(position)
        if len(self._bad) <= _LINES or len(self._bad) % BAD_IN_A_ROW == 0:
            tqdm.write(f"{len(self._bad):,} clips cannot be read and are left out; the last: {error}")


class StreamedFrames(DecodedFrames):
    """Frames of clips that are visited in order, from shards that are read one after the other.

    Those that the stream does not have, because its shard is damaged before them or because no visit was announced, are read
    by offset.
    """

    def __init__(self, clips: Clips, rows: Sequence[Clip], device: torch.device) -> None:
        super().__init__(clips, rows, device)
        self._stream: ShardStream | None = None
        self._filmstrips: dict[int, bytes | None] = {}  # of the announced visits, by position

    def visit(self, order: VisitOrder, visits: Iterable[int]) -> None:
        """See `Frames.visit`."""
        if self._stream is None or self._stream.order is not order:
            self._stream = ShardStream(self._clips.shards, self.rows, order)
        self._filmstrips = dict(map(self._stream.read, visits))

    def _decode_one(self, position: int) -> NDArray[np.uint8] | WorkError:
        filmstrip = self._filmstrips.get(position)
        if filmstrip is not None:
            try:
                return self._clips.decode(self.rows[position], filmstrip)
            except WorkError:  # damaged on its way, perhaps
                pass
        return super()._decode_one(position)


def decoder_threads(processes: int) -> int:
    """Threads that decode clips in one of `processes` that share the cores of this one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes)


def stop_if_all_bad(in_a_row: int, total: int, error: WorkError) -> None:
    """Raise a WorkError if a hundred clips in a row, or all, could not be read."""
    if in_a_row >= min(BAD_IN_A_ROW, total):
        raise WorkError(f"{in_a_row} clips in a row cannot be read; the last: {error}")
