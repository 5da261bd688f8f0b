"""Frames of clips by position: all in memory, or decoded when they are needed, by free memory."""

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.errors import WorkError
from training.clips import Clip, Clips
from training.params import Storage

_GPU_SHARE, _HOST_SHARE = 0.8, 0.5  # of the free memory that clips may take
_BAD_IN_A_ROW = 100  # unreadable clips after which the shards, not the clips, are at fault


class Frames(Protocol):
    """Frames of the clips `rows`, by their position in it."""

    @property
    def rows(self) -> Sequence[Clip]:
        """The readable clips."""
        ...

    def take(self, index: Tensor, ticks: Tensor) -> Tensor:
        """Frames at `ticks` (B, T) of the clips at positions `index` (B,): (B, T, S, S, 3) uint8, on the training device."""
        ...

    def readable(self, index: Tensor) -> Tensor:
        """`index` (B,) with the positions of unreadable clips replaced by that of a readable one of the batch."""
        ...


def load_frames(clips: Clips, rows: Sequence[Clip], device: torch.device, storage: Storage = "auto") -> Frames:
    """The frames of `rows` in GPU or host memory where they fit, else decoded on demand; one line names the choice.

    Raises:
        WorkError: there are no rows, or a hundred clips in a row cannot be read.
    """
    if not rows:
        raise WorkError("there are no clips to train on: `python -m pipeline stats` counts what was lost, by reason")
    size = len(rows) * clips.ticks * clips.size**2 * 3
    if storage == "auto":
        storage = "memory" if size < _HOST_SHARE * free_memory() or _fits_on_gpu(size, device) else "decode"
    if storage == "decode":
        print(f"{len(rows):,} clips, {size / 1e9:,.1f} GB of frames: decoded on demand")
        return DecodedFrames(clips, rows, device)
    return MemoryFrames(clips, rows, device)


class MemoryFrames:
    """All frames as one uint8 tensor, on the GPU where they fit, else in host memory.

    Clips that cannot be read are left out of `rows`, and counted in a line.
    """

    def __init__(self, clips: Clips, rows: Sequence[Clip], device: torch.device) -> None:
        self._device = device
        self.pixels = torch.empty((len(rows), clips.ticks, clips.size, clips.size, 3), dtype=torch.uint8)
        bad = self._decode(clips, rows)
        if bad:
            kept = [position for position in range(len(rows)) if position not in bad]
            print(
                f"{len(bad):,} of {len(rows):,} clips cannot be read and are left out; the first: {next(iter(bad.values()))}"
            )
            rows, self.pixels = [rows[position] for position in kept], self.pixels[kept]
        self.rows: Sequence[Clip] = tuple(rows)
        if _fits_on_gpu(self.pixels.nbytes, device):
            self.pixels = self.pixels.to(device)

    def take(self, index: Tensor, ticks: Tensor) -> Tensor:
        """See `Frames.take`."""
        held = self.pixels.device
        taken = self.pixels[_to(index, held)[:, None], _to(ticks, held)]
        return _to(taken, self._device)

    def readable(self, index: Tensor) -> Tensor:
        """See `Frames.readable`; all clips in memory are readable."""
        return index

    def _decode(self, clips: Clips, rows: Sequence[Clip]) -> dict[int, WorkError]:
        """Fill `pixels`; returns the errors of unreadable clips by position."""

        def decode(position: int) -> WorkError | None:
            try:
                self.pixels[position] = torch.from_numpy(clips.frames(rows[position].clip_id))
            except WorkError as error:
                return error
            return None

        bad: dict[int, WorkError] = {}
        in_a_row = 0
        pool = ThreadPoolExecutor(os.cpu_count())  # cv2.imdecode releases the interpreter lock
        try:
            decoded = pool.map(decode, range(len(rows)))
            for position, error in enumerate(
                tqdm(decoded, total=len(rows), desc="load clips", unit="clip", disable=None)
            ):
                in_a_row = 0 if error is None else in_a_row + 1
                if error is not None:
                    bad[position] = error
                    _stop_if_all_bad(in_a_row, len(rows), error)
        finally:
            pool.shutdown(cancel_futures=True)
        return bad


class DecodedFrames:
    """Frames decoded from the shards whenever they are needed."""

    def __init__(self, clips: Clips, rows: Sequence[Clip], device: torch.device) -> None:
        self.rows: Sequence[Clip] = tuple(rows)
        self._clips, self._device = clips, device
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._held: dict[int, np.ndarray | WorkError] = {}  # of the last batch, by position
        self._bad: set[int] = set()
        self._in_a_row = 0

    def take(self, index: Tensor, ticks: Tensor) -> Tensor:
        """See `Frames.take`; a clip that occurs several times is decoded once.

        Raises:
            WorkError: a clip cannot be read.
        """
        self._decode(index)
        windows = []
        for position, wanted in zip(index.tolist(), ticks.numpy(), strict=True):
            frames = self._held[position]
            if isinstance(frames, WorkError):
                raise frames
            windows.append(frames[wanted])
        return _to(torch.from_numpy(np.stack(windows)), self._device)

    def readable(self, index: Tensor) -> Tensor:
        """See `Frames.readable`; each unreadable clip is counted in a line once.

        Raises:
            WorkError: a hundred clips in a row, or all of a batch, cannot be read.
        """
        self._decode(index)
        positions = index.tolist()
        good = [position for position in positions if not isinstance(self._held[position], WorkError)]
        for position in positions:
            frames = self._held[position]
            self._in_a_row = self._in_a_row + 1 if isinstance(frames, WorkError) else 0
            if isinstance(frames, WorkError):
                self._report(position, frames)
                _stop_if_all_bad(self._in_a_row if good else _BAD_IN_A_ROW, len(self.rows), frames)
        spare = itertools.cycle(good)
        return torch.tensor([next(spare) if position in self._bad else position for position in positions])

    def _decode(self, index: Tensor) -> None:
        missing = [position for position in dict.fromkeys(index.tolist()) if position not in self._held]
        held = {position: self._held[position] for position in index.tolist() if position in self._held}
        self._held = held | dict(zip(missing, self._pool.map(self._decode_one, missing), strict=True))

    def _decode_one(self, position: int) -> np.ndarray | WorkError:
        try:
            return self._clips.frames(self.rows[position].clip_id)
        except WorkError as error:
            return error

    def _report(self, position: int, error: WorkError) -> None:
        if position not in self._bad:
            self._bad.add(position)
            tqdm.write(f"{len(self._bad):,} clips cannot be read and are left out; the last: {error}")


def free_memory() -> int:
    """Bytes of host memory that are free or hold caches that can be dropped."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _fits_on_gpu(size: int, device: torch.device) -> bool:
    return device.type == "cuda" and size < _GPU_SHARE * torch.cuda.mem_get_info(device)[0]


def _to(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`; pinned for the copy from the host, which then runs beside computation."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _stop_if_all_bad(in_a_row: int, total: int, error: WorkError) -> None:
    if in_a_row >= min(_BAD_IN_A_ROW, total):
        raise WorkError(f"{in_a_row} clips in a row cannot be read; the last: {error}")
