"""A process that works on one clip at a time; one that dies or hangs loses only the clip in its hands."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.records.failures import ClipError, Failure

# A fresh interpreter a worker: forking a process that holds decoder threads and SQLite handles is not safe.
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Task:
    """One clip's work: what the function gets, and a size by which large clips start first."""

    clip_id: str
    argument: Any
    cost: float = 0.0


Work = Callable[[Any], dict[str, Any]]
Answer = tuple[Task, dict[str, Any] | ClipError]


class Worker:
    """A process, the pipe to it, and the clip it holds."""

    def __init__(self, work: Work, timeout_s: float, folder: Path | None = None) -> None:
        """Start the process; it works in `folder`, by default in the present one."""
        self._work, self._timeout_s, self._folder = work, timeout_s, folder
        self.task: Task | None = None
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, self._work, self._folder), daemon=True)
        with _undisturbed():
            self._process.start()
        theirs.close()

    def give(self, task: Task) -> None:
        """Hand over a clip; the worker must be idle."""
        self.task, self._since = task, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # died while idle: `answer` finds the pipe closed
            self.pipe.send(task.argument)

    def answer(self) -> Answer:
        """Take the result. A closed pipe means that the process died: name the signal and start another."""
        task = self._release()
        try:
            result = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            death = _name_exit(self._process.exitcode)
            self._restart()
            return task, ClipError(Failure.DECODE_ERROR, f"the worker process died ({death})")
        if isinstance(result, BaseException) and not isinstance(result, ClipError):
            raise result
        return task, result

    def finish(self) -> Answer:
        """Wait for the answer to the clip in hand, however it ends."""
        return self.answer() if self.pipe.poll(self._timeout_s) else self.give_up()

    def is_overdue(self) -> bool:
        """Whether it has held its clip for too long."""
        return time.monotonic() - self._since > self._timeout_s

    def give_up(self) -> Answer:
        """Kill the process, answer for its clip, start another."""
        task = self._release()
        self._process.kill()
        self._process.join()
        self._restart()
        return task, ClipError(Failure.TIMEOUT, f"no result after {self._timeout_s:g} s")

    def stop(self) -> None:
        """End the process: at once when it is idle, by force when it holds a clip (its writes are atomic)."""
        if self.task is not None:
            self._process.kill()
        self.pipe.close()
        self._process.join()

    def _release(self) -> Task:
        assert self.task is not None
        task, self.task = self.task, None
        return task

    def _restart(self) -> None:
        self.pipe.close()
        self._start()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold Ctrl-C back while a process starts: its half-told beginning would end in a traceback.

    The child inherits the block, for Ctrl-C is the parent's to handle. The block alone does not do for the parent: the
    signal may come by way of another thread (a progress bar's), and Python would raise it here all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # its own start lifts the block
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came:
        signal.raise_signal(signal.SIGINT)


def _serve(pipe: Connection, work: Work, folder: Path | None) -> None:
    """A worker's life: take an argument, send back a result, until the parent closes the pipe or dies."""
    if folder is not None:
        os.chdir(folder)
    while True:
        try:
            argument = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            result: Any = work(argument)
        except Exception as error:
            if not isinstance(error, ClipError):
                error.add_note(f"In a worker process, with {str(argument)[:500]}:\n{traceback.format_exc()}")
            result = error
        try:
            pipe.send(result)
        except BrokenPipeError:
            return


def _name_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
