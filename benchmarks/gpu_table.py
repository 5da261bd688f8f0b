"""A table whose rows are measured within a given time; a row that does not fit into it, or that fails, says so."""

import contextlib
import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

import torch

NOT_MEASURED = "not measured"


class OutOfTime(BaseException):
    """A row has taken longer than it may. Not an Exception, so that what falls back after errors passes it on."""


@dataclass
class Table:
    """The rows measured so far, and the time that is left for more.

    Args:
        seconds: from now on, for all rows.
        judge: compare with the targets, which are those of one H100.
    """

    seconds: float
    judge: bool
    rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    def measure(self, what: str, needs_s: float, measure: Callable[[], list[list[str]]]) -> None:
        """Add the rows that `measure` returns, or one that says why there are none.

        Args:
            what: name of the row.
            needs_s: time that must be left; three times as much may be used.
            measure: gives rows of what, measured, target and verdict.
        """
        left = self._end - time.monotonic()
        if left < needs_s:
            self.rows.append([what, f"{NOT_MEASURED}: {max(0, left):.0f} s were left", "", ""])
            return
        print(f"... {what}", file=sys.stderr, flush=True)
        try:
            with time_limit(min(left, 3 * needs_s)):
                measured = measure()
            self.rows += [[*row[:3], row[3] if self.judge else ""] for row in measured]
        except OutOfTime:
            self.rows.append([what, f"{NOT_MEASURED}: longer than {min(left, 3 * needs_s):.0f} s", "", ""])
        except Exception as error:  # noqa: BLE001 (whatever fails, the other rows are measured)
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            self.rows.append([what, f"{NOT_MEASURED}: {reason}", "", ""])
        gc.collect()
        torch.compiler.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the main thread after some seconds."""

    def stop(_: int, __: FrameType | None) -> None:
        raise OutOfTime

    handler = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
