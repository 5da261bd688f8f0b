"""A worker process that handles one task at a time; if it dies or hangs, only that task is lost."""

import contextlib
import errno
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from common import lifetime, signals
from common.errors import WorkError
from pipeline.records.failures import ClipError, Failure
from pipeline.runner.memory import MemoryLimit, is_out_of_memory
from pipeline.video import decode_time

Row = TypeVar("Row")
Settings = TypeVar("Settings")
Result = TypeVar("Result")

# A fresh interpreter per worker: forking a process that holds decoder threads and SQLite handles is not safe.
_CONTEXT = multiprocessing.get_context("spawn")
_POLL_S = 0.5
_MAX_STEP_S = 5.0  # between two looks at a task; more means that this process or the machine was stopped
_STOP_S = 5.0  # for an idle worker to end


@dataclass(frozen=True)
class Task(Generic[Row]):
    """One unit of work: `row` is the argument of the work function; tasks with a larger `cost` start first."""

    name: str  # a clip_id or a file, for messages and ties
    row: Row
    cost: float = 0.0


@dataclass(frozen=True)
class Answer(Generic[Row, Result]):
    """The result of one task, or the failure of its clip."""

    task: Task[Row]
    result: Result | ClipError
    seconds: float  # wall time of the work function
    decode_s: float = 0.0  # the part of it in the decoder


@dataclass(frozen=True)
class Job(Generic[Row, Settings, Result]):
    """A module-level function `work(row, settings)`, its settings, and bounds on what it may use.

    Args:
        timeout_s: seconds that it may take for one row.
        memory_mb: most memory of a worker process in megabytes; 0: an equal share of the machine; None: no limit.
    """

    work: Callable[[Row, Settings], Result]
    settings: Settings
    timeout_s: float
    memory_mb: int | None = None


class Worker(Generic[Row, Settings, Result]):
    """A child process, the pipe to it, and the task that it holds."""

    def __init__(self, job: Job[Row, Settings, Result], folder: Path | None = None) -> None:
        """Start the process in `folder`, by default the current one."""
        self._job, self._folder = job, folder
        self.task: Task[Row] | None = None
        self._start()

    def submit(self, task: Task[Row]) -> None:
        """Send a task; the worker must be idle."""
        self.task, self._since = task, time.monotonic()
        self._looked, self._used = self._since, 0.0
        with contextlib.suppress(BrokenPipeError):  # died while idle: `receive` finds the pipe closed
            self.pipe.send(task.row)

    def receive(self) -> Answer[Row, Result]:
        """Receive the answer. If the process has died, the answer is `worker_died` and a new process is started.

        A process that has reached its memory limit has ended itself after its answer, and is replaced too.

        Raises:
            Exception: any exception of the work function that is not a `ClipError`.
        """
        task = self._release()
        try:
            result, seconds, decode_s, is_last = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            wait([self._process.sentinel], _STOP_S)  # for its own exit code
            lifetime.kill_group(self._process.pid)  # its child processes
            self._process.join()
            death = self._exit_text()
            self._restart()
            return self._failure(task, ClipError(Failure.WORKER_DIED, f"the worker process died ({death})"))
        if isinstance(result, BaseException) and not isinstance(result, ClipError):
            raise result
        if is_last:
            lifetime.kill_group(self._process.pid)
            self._process.join()
            self._restart()
        return Answer(task, result, seconds, decode_s)

    def wait(self) -> Answer[Row, Result]:
        """Block until the task is answered or its time is up."""
        while not self.pipe.poll(_POLL_S):
            if self.is_overdue():
                return self.abort()
        return self.receive()

    def is_overdue(self) -> bool:
        """Whether the task has exceeded its time; to be called every second or so while it is not answered.

        Time in which the worker or this process was stopped (Ctrl-Z, SIGSTOP, a machine that sleeps) does not count.
        """
        now = time.monotonic()
        if not _is_stopped(self._process.pid):
            self._used += min(now - self._looked, _MAX_STEP_S)
        self._looked = now
        return self._used > self._job.timeout_s and not self.pipe.poll()

    def abort(self) -> Answer[Row, Result]:
        """Kill the process and start a new one; the answer is `timeout`."""
        task = self._release()
        lifetime.kill_group(self._process.pid)
        self._process.join()
        self._restart()
        return self._failure(task, ClipError(Failure.TIMEOUT, f"no result after {self._job.timeout_s:g} s"))

    def stop(self) -> None:
        """End the process: by closing its pipe when idle, by SIGKILL when it holds a task (its writes are atomic)."""
        if self.task is not None:
            lifetime.kill_group(self._process.pid)
        self.pipe.close()
        self._process.join(_STOP_S)
        if self._process.is_alive():
            lifetime.kill_group(self._process.pid)
            self._process.join()

    def _start(self) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, self._job, self._folder), daemon=True)
        with signals.deferred():
            self._process.start()
        theirs.close()

    def _restart(self) -> None:
        self.pipe.close()
        self._start()

    def _release(self) -> Task[Row]:
        assert self.task is not None
        task, self.task = self.task, None
        return task

    def _exit_text(self) -> str:
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"exit code {code}"
        number = signal.Signals(-code)
        if number == signal.SIGKILL:
            return "signal SIGKILL; the system sends it when memory runs out"
        if number == signal.SIGABRT and self._job.memory_mb is not None:
            return f"signal SIGABRT; it may have reached engine.memory_mb, {self._job.memory_mb:,} MB"
        return f"signal {number.name}"

    def _failure(self, task: Task[Row], error: ClipError) -> Answer[Row, Result]:
        return Answer(task, error, time.monotonic() - self._since)


def _is_stopped(process: int | None) -> bool:
    """Whether a process is stopped by a signal; False where there is no /proc."""
    try:
        status = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return status.rpartition(b")")[2].split()[0] == b"T"


def _serve(pipe: Connection, job: Job[Any, Any, Any], folder: Path | None) -> None:
    """The child's loop: receive a row, send back `(result or exception, seconds, decode_s, is_last)`, until the pipe is closed.

    It also ends after a task that has reached the memory limit: its heap is full of holes.
    """
    lifetime.end_with_parent()
    if folder is not None:
        os.chdir(folder)
    limit = MemoryLimit(job.memory_mb)  # the libraries of `job` have been imported with it
    is_last = False
    while not is_last:
        try:
            row = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        decode_time.take()
        started = time.perf_counter()
        result = _call(job, row, limit)
        is_last = isinstance(result, ClipError) and result.code is Failure.OUT_OF_MEMORY
        try:
            pipe.send((result, time.perf_counter() - started, decode_time.take(), is_last))
        except BrokenPipeError:
            return


def _call(job: Job[Any, Any, Any], row: object, limit: MemoryLimit) -> Any:
    """The result of the work function, or the exception for the parent."""
    try:
        result = job.work(row, job.settings)
    except ClipError as error:
        # Not `error` itself: a subclass with other arguments than ClipError's cannot be unpickled.
        result = ClipError(error.code, error.detail)
    except Exception as error:  # noqa: BLE001 (a bug or a full disk: raised again in the parent)
        result = ClipError(Failure.OUT_OF_MEMORY, "") if is_out_of_memory(error) else _for_parent(error, row)
    if limit.was_reached() or (isinstance(result, ClipError) and result.code is Failure.OUT_OF_MEMORY):
        return ClipError(Failure.OUT_OF_MEMORY, limit.reason)
    return result


def _for_parent(error: Exception, row: object) -> Exception:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        # A fault of the machine, not of the clip: stop instead of failing every further clip.
        name = error.filename or "a file"
        return WorkError(f"{name}: the disk is full; free some space and run the same command to continue")
    error.add_note(f"In a worker process, with {str(row)[:500]}:\n{traceback.format_exc()}")
    return error
