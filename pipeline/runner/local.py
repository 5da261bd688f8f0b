"""The engine on this machine: one worker process for each core."""

import os
from collections.abc import Generator, Sequence
from multiprocessing.connection import wait

from pipeline.runner.worker import Answer, Task, Work, Worker

_POLL_S = 0.5


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
    crew = [Worker(work, timeout_s) for _ in range(min(workers or cores(), len(waiting)))]
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
