"""Windows of clips: frames `stride` ticks apart, from random, evenly spread or tiling starts."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Generator, Tensor

from training.clips import Clip, Clips, window_span
from training.data.frames import load_frames
from training.data.order import VisitOrder
from training.params import Storage


class ClipWindows:
    """Windows of `frames` frames, `stride` ticks apart, of the clips `rows`.

    A window may start at every tick from which it lies within the clip's valid frames. One that is longer than them starts
    at the first tick and includes padding. Clips that cannot be read are missing from `rows`.

    Args:
        clips: where the clips are read from.
        rows: the clips; positions in `self.rows` identify them below.
        frames: frames of a window.
        stride: ticks between them.
        device: of the windows.
        storage: of the frames; `auto` chooses by free memory and by where the shards are. Windows are the same in all.

    Raises:
        ValueError: a window is longer than a clip.
        WorkError: there are no rows, or a hundred clips in a row cannot be read.
    """

    def __init__(
        self,
        clips: Clips,
        rows: Sequence[Clip],
        *,
        frames: int,
        stride: int,
        device: torch.device | str = "cpu",
        storage: Storage = "auto",
    ) -> None:
        self.device, self.stride, self.num_frames = torch.device(device), stride, frames
        self._span = window_span(frames, stride, clips.ticks) if rows else 0
        self._frames = load_frames(clips, rows, self.device, storage)
        self.rows = tuple(self._frames.rows)
        self._valid = torch.tensor([clip.valid_frames for clip in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def random_starts(self, index: Tensor, generator: Generator) -> Tensor:
        """First ticks of random windows of the clips at positions `index` (B,): (B,)."""
        return (torch.rand(len(index), generator=generator) * (self._last_starts(index) + 1)).long()

    def even_starts(self, index: Tensor, number: int, of: int) -> Tensor:
        """First ticks of window `number` of `of` windows evenly spread over each clip, (B,); 0 of 1 is the middle."""
        return self._last_starts(index) * (2 * number + 1) // (2 * of)

    def windows(self, index: Tensor, starts: Tensor) -> Tensor:
        """The windows of the clips at positions `index` (B,) from the ticks `starts` (B,): (B, frames, S, S, 3) uint8."""
        return self._frames.take(index, starts[:, None] + self.stride * torch.arange(self.num_frames))

    def random_windows(self, index: Tensor, generator: Generator) -> Tensor:
        """A random window of each clip at the positions `index` (B,): (B, frames, S, S, 3) uint8."""
        return self.windows(index, self.random_starts(index, generator))

    def even_windows(self, index: Tensor, number: int, of: int) -> Tensor:
        """Window `number` of `of` evenly spread ones, see `even_starts`: (B, frames, S, S, 3) uint8."""
        return self.windows(index, self.even_starts(index, number, of))

    def visit(self, order: VisitOrder, visits: Iterable[int]) -> None:
        """Announce the visits, ascending, whose windows are taken next; frames that are streamed are read by it."""
        self._frames.visit(order, visits)

    def readable(self, index: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """`index` and `starts`, both (B,), with each unreadable clip replaced by the next readable one.

        Raises:
            WorkError: a hundred clips in a row cannot be read.
        """
        chosen = self._frames.readable(index)
        return chosen, torch.where(chosen == index, starts, torch.minimum(starts, self._last_starts(chosen)))

    def batches(self, size: int) -> Iterator[Tensor]:
        """The positions of all clips in order, `size` at a time."""
        yield from torch.arange(len(self)).split(size)

    def _last_starts(self, index: Tensor) -> Tensor:
        return (self._valid[index] - self._span).clamp(min=0)
