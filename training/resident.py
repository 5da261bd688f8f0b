"""Clips decoded once and kept as pixels, so that a batch is a copy: on the device if they fit there, else on the host."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.errors import WorkError
from training.clips import SIZE, TICKS, Clip, Clips, window_span

_SPARE = 0.8  # share of the free memory that frames may take


class Resident:
    """Frames of `clips`, (clips, kept ticks, 64, 64, 3) uint8; clip i is `rows[i]`.

    Every `tick_step`-th tick is kept: windows then start, and step, at multiples of it.

    Raises:
        WorkError: a clip cannot be read, or the frames do not fit into memory.
    """

    def __init__(
        self, clips: Clips, rows: Sequence[Clip], *, tick_step: int = 1, device: torch.device | str = "cpu"
    ) -> None:
        self.rows, self.tick_step = tuple(rows), tick_step
        self.device = torch.device(device)
        kept = len(range(0, TICKS, tick_step))
        shape = (len(self.rows), kept, SIZE, SIZE, 3)
        if self.device.type == "cuda" and not _fits(shape, torch.cuda.mem_get_info(self.device)[0]):
            self.device = torch.device("cpu")
        if self.device.type == "cpu" and not _fits(shape, _free_host_bytes()):
            raise WorkError(
                f"{len(self.rows)} clips need {np.prod(shape) / 1e9:.1f} GB of memory, more than is free: raise tick_step "
                f"in params.yaml (now {tick_step}), or use a machine with more memory"
            )
        self.pixels = torch.empty(shape, dtype=torch.uint8, device=self.device)
        self.valid = torch.tensor([clip.valid_frames for clip in self.rows], device=self.device)
        self._decode(clips)

    def windows(self, index: Tensor, starts: Tensor, frames: int, stride: int) -> Tensor:
        """Frames (B, frames, 64, 64, 3) uint8 of the clips `index` (B,) from tick `starts` (B,) on, on `self.device`.

        `stride` and `starts` count ticks and must be multiples of `tick_step`.
        """
        if stride % self.tick_step:
            raise ValueError(f"stride {stride} is not a multiple of tick_step {self.tick_step}")
        index, starts = index.to(self.device), starts.to(self.device)
        ticks = starts.unsqueeze(1) + stride * torch.arange(frames, device=self.device)
        return self.pixels[index.unsqueeze(1), ticks // self.tick_step]

    def room(self, frames: int, stride: int) -> Tensor:
        """How many starts each clip has for such windows, (clips,) int64: at least 1; start s is at tick s * tick_step."""
        span = window_span(frames, stride)
        return (self.valid - span).clamp(min=0) // self.tick_step + 1

    def random_starts(self, index: Tensor, frames: int, stride: int, generator: torch.Generator) -> Tensor:
        """One random start tick for each clip of `index` (B,), within its valid frames where it has enough of them."""
        room = self.room(frames, stride).cpu()[index.cpu()]
        return (torch.rand(len(index), generator=generator) * room).long() * self.tick_step

    def even_starts(self, index: Tensor, number: int, of: int, frames: int, stride: int) -> Tensor:
        """The start tick of window `number` when `of` windows are spread evenly over each clip of `index` (B,)."""
        last = self.room(frames, stride).cpu()[index.cpu()] - 1
        return (last * number // max(1, of - 1)) * self.tick_step

    def _decode(self, clips: Clips) -> None:
        def one(position: int) -> None:
            frames = torch.from_numpy(clips.frames(self.rows[position].clip_id))
            self.pixels[position].copy_(frames[:: self.tick_step])

        # imdecode releases the interpreter's lock, so threads do.
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            done = pool.map(one, range(len(self.rows)))
            for _ in tqdm(done, total=len(self.rows), desc="decode", unit="clip", disable=None):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


def _fits(shape: tuple[int, ...], free: float) -> bool:
    return float(np.prod(shape)) <= _SPARE * free


def _free_host_bytes() -> float:
    try:
        with open("/proc/meminfo") as lines:
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        return 1024.0 * kilobytes
    except (OSError, StopIteration):
        return float("inf")  # no such file outside Linux: let the allocation itself decide
