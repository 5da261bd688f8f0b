"""Frames of clips by position: in memory, decoded when they are needed, or streamed; by free memory and place of the shards."""

import os
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from common.errors import WorkError
from training.clips import Clip, Clips
from training.data.decoded import DecodedFrames, StreamedFrames
from training.data.mapped import can_share, local_processes
from training.data.memory import free_gpu_memory, free_memory
from training.data.order import VisitOrder
from training.data.resident import MemoryFrames
from training.params import Storage

_GPU_SHARE, _HOST_SHARE = 0.8, 0.5  # of the free memory that clips may take

Place = Literal["gpu", "host", "decode", "stream"]


class Frames(Protocol):
    """Frames of the clips `rows`, by their position in it."""

    @property
    def rows(self) -> Sequence[Clip]:
        """The readable clips."""
        ...

    def visit(self, order: VisitOrder, visits: Iterable[int]) -> None:
        """Announce the visits, ascending, whose clips are taken next; a stream reads them."""
        ...

    def take(self, index: Tensor, ticks: Tensor) -> Tensor:
        """Frames at `ticks` (B, T) of the clips at positions `index` (B,): (B, T, S, S, 3) uint8, on the training device."""
        ...

    def readable(self, index: Tensor) -> Tensor:
        """`index` (B,) with the position of each unreadable clip replaced by that of the next readable one."""
        ...


def load_frames(clips: Clips, rows: Sequence[Clip], device: torch.device, storage: Storage = "auto") -> Frames:
    """The frames of `rows` in GPU or host memory where they fit, else read when they are needed; one line says which and why.

    Raises:
        WorkError: there are no rows, or a hundred clips in a row cannot be read.
    """
    if not rows:
        raise WorkError("there are no clips to train on: `python -m pipeline stats` counts what was lost, by reason")
    size = len(rows) * clips.ticks * clips.size**2 * 3
    place, reason = _choose(size, device, storage, local=clips.shards.local)
    if os.environ.get("RANK", "0") == "0":
        how = {"gpu": "in GPU memory", "host": "in memory", "decode": "decoded from", "stream": "streamed from"}[place]
        source = f" {clips.shards.place}" if place in ("decode", "stream") else ""
        print(f"{len(rows):,} clips, {size / 1e9:,.1f} GB of frames: {how}{source} ({reason})")
    if place == "decode":
        return DecodedFrames(clips, rows, device)
    if place == "stream":
        return StreamedFrames(clips, rows, device)
    return MemoryFrames(clips, rows, device, device if place == "gpu" else torch.device("cpu"))


def _choose(size: int, device: torch.device, storage: Storage, *, local: bool) -> tuple[Place, str]:
    """Where frames of `size` bytes are kept, and the reason."""
    gpu, host = free_gpu_memory(device), free_memory()
    processes = local_processes()
    copies = 1 if processes == 1 or can_share(size) else processes
    fits_gpu, fits_host = size < _GPU_SHARE * gpu, copies * size < _HOST_SHARE * host
    memory: Place = "gpu" if fits_gpu else "host"
    free = f"{gpu / 1e9:,.1f} GB of the GPU's memory are free" if fits_gpu else f"{host / 1e9:,.1f} GB are free"
    if storage == "auto":
        if fits_gpu or fits_host:
            return memory, free
        return ("decode" if local else "stream"), f"{free}, the shards are {'here' if local else 'remote'}"
    named = f"loader.storage is {storage}"
    return (memory, f"{named}, {free}") if storage == "memory" else (storage, named)
