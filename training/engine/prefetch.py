"""Batches drawn ahead of the steps in a thread, on a GPU by a stream of its own."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

_AHEAD = 2  # batches drawn while a step is computed

Key = TypeVar("Key")
Drawn = TypeVar("Drawn")


class Prefetch(Generic[Key, Drawn]):
    """Iterator over `draw(key)` of each of `keys`, in order; a context manager that ends the thread.

    Args:
        draw: called in the thread, one call at a time.
        keys: of the batches.
        device: that the batches are used on.
    """

    def __init__(self, draw: Callable[[Key], Drawn], keys: Iterable[Key], device: torch.device) -> None:
        self._draw, self._keys = draw, iter(keys)
        self._ahead: deque[Future[tuple[Drawn, torch.cuda.Event | None]]] = deque()
        self._pool = ThreadPoolExecutor(1, "batches")
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._stream.wait_stream(torch.cuda.current_stream(device))  # resident clips may still be copied
        self.waited_s = 0.0
        """Seconds for which `next` has waited, in all."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Drawn:
        while len(self._ahead) <= _AHEAD and (key := next(self._keys, None)) is not None:
            self._ahead.append(self._pool.submit(self._drawn, key))
        if not self._ahead:
            raise StopIteration
        started = time.perf_counter()
        batch, drawn = self._ahead.popleft().result()
        self.waited_s += time.perf_counter() - started
        if drawn is not None:
            stream = torch.cuda.current_stream()
            stream.wait_event(drawn)
            for leaf in tree_leaves(batch):
                if isinstance(leaf, Tensor) and leaf.is_cuda:
                    leaf.record_stream(
                        stream
                    )  # so that its memory is not used for a later batch before the step has ended
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _drawn(self, key: Key) -> tuple[Drawn, torch.cuda.Event | None]:
        with torch.cuda.stream(self._stream):  # None: no stream
            batch = self._draw(key)
            return batch, None if self._stream is None else self._stream.record_event()
