"""Runs a job on this machine: one worker process per core."""

import dataclasses
import os
from collections.abc import Generator, Sequence
from multiprocessing.connection import wait

from pipeline.runner.memory import share_mb
from pipeline.runner.worker import Answer, Job, Result, Row, Settings, Task, Worker

_POLL_S = 0.5


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def used(workers: int, tasks: int) -> int:
    """The number of processes that `run` starts for so many tasks; `workers` as in `run`."""
    return min(workers or cores(), tasks)


def with_share(job: Job[Row, Settings, Result], workers: int) -> Job[Row, Settings, Result]:
    """The job with the share of this machine's memory that each of `workers` processes has, where it leaves that open."""
    return dataclasses.replace(job, memory_mb=share_mb(workers)) if job.memory_mb == 0 else job


def run(
    job: Job[Row, Settings, Result], tasks: Sequence[Task[Row]], *, workers: int = 0
) -> Generator[Answer[Row, Result], None, None]:
    """Yield the answer of every task as it is finished; tasks start in order of falling cost.

    Args:
        workers: processes; 0 means one per core.

    Raises:
        Exception: any exception of the work function that is not a `ClipError` (a full disk, a bug); it ends the run.
    """
    waiting = sorted(tasks, key=lambda task: (task.cost, task.name))  # popped from the end
    job = with_share(job, workers or cores())
    pool = [Worker(job) for _ in range(used(workers, len(waiting)))]
    try:
        while True:
            for worker in pool:
                if worker.task is None and waiting:
                    worker.submit(waiting.pop())
            busy = [worker for worker in pool if worker.task is not None]
            if not busy:
                return
            ready = set(wait([worker.pipe for worker in busy], timeout=_POLL_S))
            for worker in busy:
                if worker.pipe in ready:
                    yield worker.receive()
                elif worker.is_overdue():
                    yield worker.abort()
    finally:
        for worker in pool:
            worker.stop()
