"""Map one pure function over many clips on all cores; a worker that dies or hangs loses only the clip in its hands."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.failures import ClipError, Failure

# A fresh interpreter a worker: forking a process that holds decoder threads and SQLite handles is not safe.
_CONTEXT = multiprocessing.get_context("spawn")
_POLL_S = 0.5


@dataclass(frozen=True)
class Task:
    """One clip's work: what the function gets, and a size by which large clips start first."""

    clip_id: str
    argument: Any
    cost: float = 0.0


Work = Callable[[Any], dict[str, Any]]
Answer = tuple[Task, dict[str, Any] | ClipError]


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    work: Work, tasks: Sequence[Task], *, workers: int = 0, timeout_s: float = 120.0
) -> Generator[Answer, None, None]:
    """Yield `(task, result or ClipError)` in the order in which clips finish, largest cost first.

    Args:
        work: a module-level function of one argument that returns manifest values or raises `ClipError`.
        tasks: the clips; each gets exactly one answer.
        workers: processes; 0 means one per core.
        timeout_s: after this long with one clip its worker is killed and the clip fails with `timeout`.

    Raises:
        Exception: anything but `ClipError` that `work` raises (a full disk, a bug) ends the run.
    """
    waiting = sorted(tasks, key=lambda task: (task.cost, task.clip_id))  # popped from the end
    crew = [_Worker(work, timeout_s) for _ in range(min(workers or cores(), len(waiting)))]
    try:
        while True:
            for worker in crew:
                if worker.task is None and waiting:
                    worker.give(waiting.pop())
            busy = [worker for worker in crew if worker.task is not None]
            if not busy:
                return
            ready = set(wait([worker.pipe for worker in busy], timeout=_POLL_S))
            for worker in busy:
                if worker.pipe in ready:
                    yield worker.answer()
                elif worker.is_overdue():
                    yield worker.give_up()
    finally:
        for worker in crew:
            worker.stop()


class _Worker:
    """A process, the pipe to it, and the clip it holds."""

    def __init__(self, work: Work, timeout_s: float) -> None:
        self._work, self._timeout_s = work, timeout_s
        self.task: Task | None = None
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, self._work), daemon=True)
        # Ctrl-C is the parent's to handle. The child inherits the block, so it holds while the child still imports;
        # the tracker is started first because its start lifts the block.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, task: Task) -> None:
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

    def is_overdue(self) -> bool:
        return time.monotonic() - self._since > self._timeout_s

    def give_up(self) -> Answer:
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


def _serve(pipe: Connection, work: Work) -> None:
    """A worker's life: take an argument, send back a result, until the parent closes the pipe or dies."""
    while True:
        try:
            argument = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            result: Any = work(argument)
        except Exception as error:
            result = error
        try:
            pipe.send(result)
        except BrokenPipeError:
            return


def _name_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
