"""Runs a job on a Ray cluster. Every Ray worker holds one child process, so a crash or hang does not take it down.

A task that kills or stalls its child process is answered exactly as on one machine. Node failures are Ray's concern:
only the tasks that were on the node are run again elsewhere. When the head node is lost, the command ends with one line.
"""

import atexit
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

# Read when ray is imported: disable usage reports and the warning about GPUs.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError, RayTaskError

import common
import pipeline
from common import signals
from common.errors import WorkError
from pipeline.params import Engine
from pipeline.records.failures import ClipError, Failure
from pipeline.runner import folders
from pipeline.runner.local import cores, with_share
from pipeline.runner.worker import Answer, Job, Result, Row, Settings, Task, Worker

_POLL_S = 0.5
_MAX_RETRIES = 5  # node failures tolerated per task
_TASKS_PER_CORE = 2  # in flight: no core waits for the driver, and few tasks are lost with a node

_LOST_S = 15.0  # without an answer of the head node
_GRACE_S = 5.0  # to end in good order without it
_CONNECT_S = 5.0

_workers: dict[str, Worker[Any, Any, Any]] = {}  # in a Ray worker: its child process, by its job


def run(
    job: Job[Row, Settings, Result],
    tasks: Sequence[Task[Row]],
    engine: Engine,
    *,
    before_submit: Callable[[Row], None] | None = None,
) -> Generator[Answer[Row, Result], None, None]:
    """As `runner.run`, on the cluster at `engine.address`.

    Args:
        before_submit: called on this machine with each row before it is sent.

    Raises:
        WorkError: no cluster answers, or it has no cores.
    """
    waiting = sorted(tasks, key=lambda task: (task.cost, task.name))  # popped from the end
    if not waiting:
        return
    with _connected(engine), _ending_with_cluster(engine.address):
        # Without a store the nodes share this folder; with one, each works in a folder of its own.
        folder = None if engine.store else str(Path.cwd())
        remote: Any = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(_on_node)
        job_ref = ray.put((job, folder))
        in_flight: dict[ray.ObjectRef[Any], Task[Row]] = {}
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < _TASKS_PER_CORE * _cores(engine):
                    task = waiting.pop()
                    if before_submit is not None:
                        before_submit(task.row)
                    in_flight[remote.remote(job_ref, task)] = task
                ready, _ = ray.wait(list(in_flight), timeout=_POLL_S)
                for reference in ready:
                    yield _fetch(reference, in_flight.pop(reference))
        finally:
            for reference in in_flight:
                ray.cancel(reference, force=True)


def _on_node(
    job_and_folder: tuple[Job[Row, Settings, Result], str | None], task: Task[Row]
) -> tuple[Result | ClipError, float, float]:
    """In a Ray worker: run the task in this worker's child process."""
    job, folder = job_and_folder
    key = repr(job_and_folder)
    if key not in _workers:
        _stop_workers()
        atexit.register(_stop_workers)
        _workers[key] = Worker(with_share(job, cores()), Path(folder) if folder else folders.make("clips-"))
    _workers[key].submit(task)
    answer: Answer[Row, Result] = _workers[key].wait()
    return answer.result, answer.seconds, answer.decode_s


def _stop_workers() -> None:
    for worker in _workers.values():
        worker.stop()
    _workers.clear()


def _fetch(reference: "ray.ObjectRef[Any]", task: Task[Row]) -> Answer[Row, Any]:
    try:
        result, seconds, decode_s = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None  # raised by the work function: a full disk, a bug
    except RayError as error:
        lost = ClipError(Failure.WORKER_DIED, f"{_MAX_RETRIES + 1} nodes or their workers were lost with it: {error}")
        return Answer(task, lost, 0.0)
    return Answer(task, result, seconds, decode_s)


@contextlib.contextmanager
def _connected(engine: Engine) -> Generator[None, None, None]:
    if ray.is_initialized():  # by the calling program, which also shuts it down
        yield
        return
    # The code is sent along, so that every node runs the same version.
    code = [str(Path(module.__path__[0])) for module in (common, pipeline)]
    options: dict[str, Any] = {"runtime_env": {"py_modules": code}, "log_to_driver": False, "logging_level": "ERROR"}
    if engine.address == "local":
        options |= {"num_cpus": engine.workers or None, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _check_reachable(engine.address)
        ray.init(engine.address, **options)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # ray.init replaces it
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkError(
            f"no Ray cluster answers at engine.address: {engine.address} ({str(error).splitlines()[0]}): "
            "start one with `ray start --head`, or set engine.address: local"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _ending_with_cluster(address: str) -> Generator[None, None, None]:
    """In the block, end this process within seconds when the head node is lost.

    Ray itself would retry for a minute and then exit, whatever the main thread waits for.
    """
    if address.startswith("ray://"):  # Ray's client raises ConnectionError
        yield
        return
    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    ended = threading.Event()

    def watch() -> None:
        answered = time.monotonic()
        while not ended.wait(_POLL_S):
            with contextlib.suppress(OSError):
                socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
                answered = time.monotonic()
            if time.monotonic() - answered > _LOST_S:
                signals.stop(f"the Ray cluster at {host}:{port} has ended", _GRACE_S)

    threading.Thread(target=watch, name="end with cluster", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _check_reachable(address: str) -> None:
    """Fail within seconds where no server listens; Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _cores(engine: Engine) -> int:
    """Cores of the cluster at this moment, at most `engine.workers`."""
    available = int(ray.cluster_resources().get("CPU", 0))
    return max(1, min(available, engine.workers) if engine.workers else available)
