"""Seconds that this process has spent in the decoder, for the rate that a stage prints; nothing that is written depends on it."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Frame = TypeVar("Frame")

_seconds = 0.0


def measured(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The same frames; the wall time until each is there is counted, that of their use is not."""
    global _seconds
    waiting = iter(frames)
    while True:
        started = time.perf_counter()
        try:
            frame = next(waiting)
        except StopIteration:
            return
        finally:
            _seconds += time.perf_counter() - started
        yield frame


def take() -> float:
    """The seconds since the last call."""
    global _seconds
    taken, _seconds = _seconds, 0.0
    return taken
