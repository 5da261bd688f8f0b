"""All clips as one uint8 tensor on the training device, so that a batch of windows is one indexing operation."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from common.errors import WorkError
from training.clips import Clip, Clips, window_span

_GPU_SHARE = 0.8  # of the free GPU memory that clips may take


class InMemoryClips:
    """Windows of `frames` ticks, `stride` apart, from clips decoded once.

    Only every `stride`-th tick is kept, so windows start at multiples of `stride`. A window that is longer than a clip's
    valid frames starts at its first tick and includes padding. Clips that do not fit on a GPU stay in host memory; windows
    are moved.

    Args:
        clips: where the clips are read from.
        rows: the clips to load; positions in this sequence identify them below.
        frames: frames of a window.
        stride: ticks between them.
        device: of the windows.

    Raises:
        ValueError: a window is longer than a clip.
        WorkError: there are no rows, or a clip cannot be read.
    """

    def __init__(
        self, clips: Clips, rows: Sequence[Clip], *, frames: int, stride: int, device: torch.device | str = "cpu"
    ) -> None:
        if not rows:
            raise WorkError(
                "there are no clips to train on: `python -m pipeline stats` counts what was lost, by reason"
            )
        self.rows, self.frames, self.stride, self.device = tuple(rows), frames, stride, torch.device(device)
        span = window_span(frames, stride, clips.ticks)
        valid = torch.tensor([clip.valid_frames for clip in rows])
        self._starts = (valid - span).clamp(min=0) // stride + 1  # possible starts of a window, per clip
        kept = len(range(0, clips.ticks, stride))
        self.pixels = torch.empty((len(rows), kept, clips.size, clips.size, 3), dtype=torch.uint8)
        self._decode(clips)
        if self.device.type == "cuda" and self.pixels.nbytes < _GPU_SHARE * torch.cuda.mem_get_info()[0]:
            self.pixels = self.pixels.to(self.device)

    def __len__(self) -> int:
        return len(self.rows)

    def random_windows(self, index: Tensor, generator: Generator) -> Tensor:
        """A random window of each clip at the positions `index` (B,): (B, frames, S, S, 3) uint8."""
        starts = (torch.rand(len(index), generator=generator) * self._starts[index]).long()
        return self._windows(index, starts)

    def even_windows(self, index: Tensor, number: int, of: int) -> Tensor:
        """Window `number` of `of` windows evenly spread over each clip: (B, frames, S, S, 3) uint8; 0 of 1 is the middle."""
        return self._windows(index, (self._starts[index] - 1) * (2 * number + 1) // (2 * of))

    def batches(self, size: int) -> Iterator[Tensor]:
        """The positions of all clips in order, `size` at a time."""
        yield from torch.arange(len(self)).split(size)

    def _windows(self, index: Tensor, starts: Tensor) -> Tensor:
        ticks = starts[:, None] + torch.arange(self.frames)
        held = self.pixels.device
        return self.pixels[index[:, None].to(held), ticks.to(held)].to(self.device)

    def _decode(self, clips: Clips) -> None:
        def decode(position: int) -> None:
            frames = clips.frames(self.rows[position].clip_id)
            self.pixels[position] = torch.from_numpy(frames[:: self.stride].copy())

        pool = ThreadPoolExecutor(os.cpu_count())  # cv2.imdecode releases the interpreter lock
        try:
            decoded = pool.map(decode, range(len(self.rows)))
            for _ in tqdm(decoded, total=len(self.rows), desc="load clips", unit="clip", disable=None):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
