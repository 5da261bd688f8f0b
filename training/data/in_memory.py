"""Clips decoded once and kept as pixels where training computes, so that a batch is a copy."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from common.errors import WorkError
from training.clips import SIZE, TICKS, Clip, Clips, normalise, window_span


class Resident:
    """Windows of `frames` ticks, `stride` apart, of `clips`: pixels `(clips, ticks kept, 64, 64, 3) uint8`.

    Only every `stride`-th tick is kept, so windows start at multiples of it.

    Raises:
        WorkError: there are no clips, or one cannot be read.
    """

    def __init__(
        self, clips: Clips, rows: Sequence[Clip], *, frames: int, stride: int, device: torch.device | str = "cpu"
    ) -> None:
        if not rows:
            raise WorkError("there are no clips to train on: see `python -m pipeline stats`")
        self.rows, self.frames, self.stride = tuple(rows), frames, stride
        span = window_span(frames, stride)
        valid = torch.tensor([clip.valid_frames for clip in rows])
        self._room = (valid - span).clamp(min=0) // stride + 1
        self.pixels = torch.empty((len(rows), len(range(0, TICKS, stride)), SIZE, SIZE, 3), dtype=torch.uint8)
        self._decode(clips)
        if torch.device(device).type == "cuda" and self.pixels.nbytes < 0.8 * torch.cuda.mem_get_info()[0]:
            self.pixels = self.pixels.to(device)
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.rows)

    def random(self, index: Tensor, generator: Generator) -> Tensor:
        """One window of each clip of `index` (B,), at a place by chance: normalised floats (B, 3, frames, 64, 64)."""
        starts = (torch.rand(len(index), generator=generator) * self._room[index]).long()
        return self._windows(index, starts)

    def even(self, index: Tensor, number: int, of: int) -> Tensor:
        """Window `number` of `of` that are spread evenly over each clip."""
        return self._windows(index, (self._room[index] - 1) * (2 * number + 1) // (2 * of))

    def _windows(self, index: Tensor, starts: Tensor) -> Tensor:
        ticks = starts[:, None] + torch.arange(self.frames)
        held = self.pixels.device
        windows = self.pixels[index[:, None].to(held), ticks.to(held)]
        return normalise(windows.to(self.device))

    def _decode(self, clips: Clips) -> None:
        def one(position: int) -> None:
            strip = clips.frames(self.rows[position].clip_id)
            self.pixels[position] = torch.from_numpy(strip[:: self.stride].copy())

        pool = ThreadPoolExecutor(os.cpu_count())  # imdecode releases the interpreter's lock
        try:
            done = pool.map(one, range(len(self.rows)))
            for _ in tqdm(done, total=len(self.rows), desc="load clips", unit="clip", disable=None):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
