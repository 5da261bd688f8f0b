"""Frames decoded once into memory, of the GPU or of the host."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from common.errors import WorkError
from training.clips import Clip, Clips
from training.data.decoded import decoder_threads, stop_if_all_bad
from training.data.mapped import can_share, local_processes, map_shared
from training.data.order import VisitOrder
from training.data.transfer import copy_to

_CHUNK = 256  # clips that are copied to the GPU at a time


class MemoryFrames:
    """All frames as one uint8 tensor. Clips that cannot be read are left out of `rows`, and counted in a line.

    The processes that `torchrun` has started on one machine decode the clips once, into memory that they share, where the disk
    has room for it.

    Args:
        clips: where the clips are read from.
        rows: the clips.
        device: of the frames that are taken.
        place: of the tensor, that device or the host.
    """

    def __init__(self, clips: Clips, rows: Sequence[Clip], device: torch.device, place: torch.device) -> None:
        self._device = device
        shape = (len(rows), clips.ticks, clips.size, clips.size, 3)
        size = torch.Size(shape).numel()
        if local_processes() > 1 and can_share(size):

            def fill(content: Tensor) -> None:
                threads = decoder_threads(1)  # the other processes wait
                content[size:] = _decode(clips, rows, content[:size].view(shape), threads)

            content = map_shared(_digest(rows), size + len(rows), fill)
            self.pixels, readable = content[:size].view(shape).to(place), content[size:].bool()
        else:
            self.pixels = torch.empty(shape, dtype=torch.uint8, device=place)
            readable = _decode(clips, rows, self.pixels, decoder_threads(local_processes()), staged=self.pixels.is_cuda)
        self._places = readable.nonzero().flatten()  # of the rows in `pixels`
        self.rows: Sequence[Clip] = tuple(rows[position] for position in self._places.tolist())
        self._places = self._places.to(place)
        self._ticks = clips.ticks

    def visit(self, order: VisitOrder, visits: Iterable[int]) -> None:
        """See `Frames.visit`; all clips are in memory."""

    def take(self, index: Tensor, ticks: Tensor) -> Tensor:
        """See `Frames.take`."""
        held = self.pixels.device
        frames = self._places[copy_to(index, held), None] * self._ticks + copy_to(ticks, held)
        # Rows of one index are copied whole, ten times as fast as elements at two.
        taken = self.pixels.flatten(0, 1).flatten(1).index_select(0, frames.flatten())
        return copy_to(taken.view(*frames.shape, *self.pixels.shape[2:]), self._device)

    def readable(self, index: Tensor) -> Tensor:
        """See `Frames.readable`; all clips in memory are readable."""
        return index


def _decode(clips: Clips, rows: Sequence[Clip], pixels: Tensor, threads: int, *, staged: bool = False) -> Tensor:
    """Decode clips into `pixels` (N, T, S, S, 3), of a GPU if `staged`; (N,) bool, False for those that cannot be read.

    Raises:
        WorkError: a hundred clips in a row cannot be read.
    """
    # Of the host, and copied to the GPU as a whole.
    staging = torch.empty((_CHUNK, *pixels.shape[1:]), dtype=torch.uint8, pin_memory=pixels.is_cuda) if staged else None
    readable = torch.ones(len(rows), dtype=torch.bool)
    first_error: WorkError | None = None
    in_a_row = 0
    pool = ThreadPoolExecutor(threads)  # cv2.imdecode releases the interpreter lock
    try:
        with tqdm(total=len(rows), desc="load clips", unit="clip", disable=None) as bar:
            for chunk in torch.arange(len(rows)).split(_CHUNK):
                first, count = int(chunk[0]), len(chunk)
                target = pixels[first : first + count] if staging is None else staging[:count]
                decode = partial(_decode_one, clips)
                for number, error in enumerate(pool.map(decode, rows[first : first + count], target), first):
                    in_a_row = 0 if error is None else in_a_row + 1
                    if error is not None:
                        readable[number] = False
                        first_error = first_error or error
                        stop_if_all_bad(in_a_row, len(rows), error)
                    bar.update()
                if staging is not None:
                    pixels[first : first + count] = target
    finally:
        pool.shutdown(cancel_futures=True)
    if first_error is not None:
        bad = len(rows) - int(readable.sum())
        print(f"{bad:,} of {len(rows):,} clips cannot be read and are left out; the first: {first_error}")
    return readable


def _decode_one(clips: Clips, clip: Clip, target: Tensor) -> WorkError | None:
    """Decode a clip into `target` (T, S, S, 3); returns the error of one that cannot be read."""
    try:
        target.copy_(torch.from_numpy(clips.decode(clip)))
    except WorkError as error:
        return error
    return None


def _digest(rows: Sequence[Clip]) -> str:
    return hashlib.sha256("".join(clip.sha256 for clip in rows).encode()).hexdigest()[:16]
