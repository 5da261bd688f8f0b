"""SIGINT (Ctrl-C), SIGTERM and SIGHUP end a command with one line and an exit code.

Imported before everything else, so it imports no more than Python's own start has, and `signal`.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # as in `typing`, whose import takes as long as all others here
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

_KEPT = "finished work is kept, run the same command to continue"
_ENDINGS = {  # exit code and message; 1 for Ctrl-C, as for any other command that could not finish
    signal.SIGINT: (1, f"interrupted; {_KEPT}"),
    signal.SIGTERM: (128 + signal.SIGTERM, f"terminated; {_KEPT}"),
    signal.SIGHUP: (128 + signal.SIGHUP, f"the terminal was closed; {_KEPT}"),
}


class Stopped(KeyboardInterrupt):
    """A signal that ends the command; a `KeyboardInterrupt`, so that libraries clean up as they do for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code, self.message = _ENDINGS[signal.Signals(number)]


_first: Stopped | None = None  # the signal that is ending this process
_printed = False


def exit_at_once() -> None:
    """From now on, a signal prints its line and ends the process at once: for the times when there is nothing to clean up."""
    for number in _handled():
        signal.signal(number, _exit)


@contextmanager
def raised() -> Iterator[None]:
    """In the block, the first signal raises `Stopped` in the main thread; a second one ends the process at once.

    Ending at once leaves what kill -9 leaves: temporary files, which the next run deletes.
    """
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _first
    _first = None
    before: dict[int, Any] = {}
    hook, thread_hook = sys.unraisablehook, threading.excepthook
    try:
        sys.unraisablehook, threading.excepthook = _exit_if_stopped(hook), _silent_if_stopped(thread_hook)
        for number in _handled():
            before[number] = signal.signal(number, _raise)
        yield
    finally:
        for handled, handler in before.items():
            # A command that is done stays done: Ctrl-C does not change its exit code while the interpreter ends.
            done = handler is _exit and handled == signal.SIGINT
            signal.signal(handled, signal.SIG_IGN if done else handler)
        if _first is None:  # else the process is ending, and its threads with it
            sys.unraisablehook, threading.excepthook = hook, thread_hook


@contextmanager
def deferred() -> Iterator[None]:
    """Defer the signals while a process is spawned: an interrupted spawn prints tracebacks in both processes.

    The child inherits a mask, so Ctrl-C is handled by the parent alone. The mask alone is not enough for the parent:
    the signal may be delivered to another thread (a progress bar's), and Python would raise it here all the same.
    """
    import threading
    from multiprocessing import resource_tracker

    if threading.current_thread() is not threading.main_thread():
        yield
        return

    received: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDINGS}
    own = {number: handler for number, handler in before.items() if callable(handler)}  # neither SIG_DFL nor SIG_IGN
    for number in own:
        signal.signal(number, lambda number, _: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        # Its start resets the mask of SIGINT and SIGTERM, which it ignores; SIGHUP stays blocked in it.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask | {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in own.items():
            signal.signal(number, handler)
    if received:
        signal.raise_signal(received[0])


def stop(message: str, grace_s: float) -> None:
    """End this process from another thread than the main one as SIGTERM does, with `message`; at once after `grace_s`."""
    import threading

    _ENDINGS[signal.SIGTERM] = (_ENDINGS[signal.SIGTERM][0], f"{message}; {_KEPT}")
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    threading.Event().wait(grace_s)
    _exit(signal.SIGTERM, None)


def received() -> Stopped | None:
    """The signal that is ending this process, whatever became of the exception; None if there was none."""
    return _first


def printed() -> None:
    """Note that this process has printed why it ends: a further signal prints nothing."""
    global _printed
    _printed = True


def _handled() -> list[signal.Signals]:
    """The signals that are not ignored: nohup ignores SIGHUP, and a shell without job control SIGINT of what it runs with &."""
    return [number for number in _ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]


def _raise(number: int, frame: "FrameType | None") -> None:
    global _first
    if _first is not None:
        _exit(number, frame)
    _first = Stopped(number)
    raise _first


def _exit(number: int, _: "FrameType | None") -> "NoReturn":
    stopped = _first or Stopped(number)
    if not _printed:
        line = f"error: {stopped.message}\n"
        with suppress(OSError):  # not by sys.stderr, which the interrupted code may be writing to
            os.write(2, (f"\n{line}" if os.isatty(2) else line).encode())
    os._exit(stopped.code)


def _exit_if_stopped(hook: "Callable[[Any], object]") -> "Callable[[Any], object]":
    """An unraisable hook: Python drops an exception that is raised in a finaliser, and the command would go on."""

    def handle(unraisable: "Any") -> object:
        if isinstance(unraisable.exc_value, Stopped):
            _exit(signal.SIGINT, None)
        return hook(unraisable)

    return handle


def _silent_if_stopped(hook: "Callable[[Any], object]") -> "Callable[[Any], object]":
    """A hook for exceptions in threads: those of a command that is ending are no bugs, for example in a pool whose
    processes got the signal too.
    """
    return lambda arguments: None if _first is not None else hook(arguments)
