"""The engine on a Ray cluster: every Ray worker keeps one worker process, which dies or hangs in its stead.

A clip that kills or stalls its process is answered for exactly as on one machine. A node that goes down is Ray's to
notice: the tasks it held, and only those, are run again elsewhere.
"""

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

# Read when ray is imported: no report home, and no advice about GPUs that nobody asked for.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError, RayTaskError

import common
import pipeline
from common.errors import WorkError
from pipeline.params import Engine
from pipeline.records.failures import ClipError, Failure
from pipeline.runner.worker import Answer, Task, Work, Worker

_POLL_S = 0.5
_LOSSES = 5  # as many nodes may go down under one clip before the clip is blamed
_AHEAD = 2  # tasks in flight for each core: none waits for the driver, and few are lost with a node

_seats: dict[Any, Worker] = {}  # in a Ray worker: its process, by what it does


def run(
    work: Work,
    tasks: Sequence[Task],
    options: Engine,
    timeout_s: float,
    *,
    prepare: Callable[[Task], None] | None = None,
) -> Generator[Answer, None, None]:
    """As `runner.run`, on the cluster at `options.address`.

    Args:
        prepare: called here, with each task, before it leaves this machine.

    Raises:
        WorkError: no cluster answers, or it has no cores.
    """
    waiting = sorted(tasks, key=lambda task: (task.cost, task.clip_id))  # popped from the end
    if not waiting:
        return
    with _connected(options):
        # Without a store the nodes see this very folder; with one, each works in a folder of its own.
        seat = (work, timeout_s, None if options.store else str(Path.cwd()))
        remote = ray.remote(num_cpus=1, max_retries=_LOSSES)(_on_node)
        held = ray.put(seat)
        flying: dict[ray.ObjectRef, Task] = {}
        try:
            while waiting or flying:
                while waiting and len(flying) < _AHEAD * _cores(options):
                    task = waiting.pop()
                    if prepare is not None:
                        prepare(task)
                    flying[remote.remote(held, task)] = task
                ready, _ = ray.wait(list(flying), timeout=_POLL_S)
                for reference in ready:
                    task = flying.pop(reference)
                    yield task, _fetch(reference)
        finally:
            for reference in flying:
                ray.cancel(reference, force=True)


def _on_node(seat: tuple[Work, float, str | None], task: Task) -> dict[str, Any] | ClipError:
    """In a Ray worker: have the clip worked on by this worker's process, and wait."""
    work, timeout_s, folder = seat
    key = repr((work, timeout_s, folder))
    if key not in _seats:
        for worker in _seats.values():
            worker.stop()
        _seats.clear()
        _seats[key] = Worker(work, timeout_s, Path(folder or tempfile.mkdtemp(prefix="clips-")))
    _seats[key].give(task)
    return _seats[key].finish()[1]


def _fetch(reference: "ray.ObjectRef") -> dict[str, Any] | ClipError:
    try:
        answer: dict[str, Any] | ClipError = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None  # what the work raised beside ClipError: a full disk, a bug
    except RayError as error:
        return ClipError(Failure.DECODE_ERROR, f"{_LOSSES + 1} nodes or their workers were lost with it: {error}")
    return answer


@contextlib.contextmanager
def _connected(options: Engine) -> Generator[None, None, None]:
    if ray.is_initialized():  # by the program that called us; it is not ours to shut down
        yield
        return
    # The code goes along, so that every node runs this very version.
    code = [str(Path(module.__path__[0])) for module in (common, pipeline)]
    job: dict[str, Any] = {"runtime_env": {"py_modules": code}, "log_to_driver": False, "logging_level": "ERROR"}
    if options.address == "local":
        job |= {"num_cpus": options.workers or None, "include_dashboard": False}
    try:
        _knock(options.address)
        ray.init(options.address, **job)
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkError(
            f"no Ray cluster answers at engine.address: {options.address} ({str(error).splitlines()[0]}): "
            "start one with `ray start --head`, or set engine.address: local"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fail within seconds where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def _cores(options: Engine) -> int:
    """Cores of the cluster as it is now; `engine.workers` may ask for fewer."""
    there = int(ray.cluster_resources().get("CPU", 0))
    return max(1, min(there, options.workers) if options.workers else there)
