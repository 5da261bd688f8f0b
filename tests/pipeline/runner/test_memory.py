"""The memory limit of a worker: a task beyond it fails alone as out_of_memory; the limit is a share of the machine."""

import contextlib
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from pipeline import runner
from pipeline.runner import Job, Task, memory

LIMIT_MB = 512
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")


@dataclass(frozen=True)
class Reply:
    value: int
    pid: int


def allocate(action: str | int, limit_mb: int) -> Reply:
    """Allocate more than the limit in some way; a number is returned as it is."""
    if isinstance(action, int):
        return Reply(action, os.getpid())
    if action == "objects":
        fill_memory()
    if action == "array":
        np.ones(limit_mb << 20, np.uint8)
    if action == "picture":
        cv2.copyMakeBorder(np.ones((1, 1), np.uint8), 0, 1 << 15, 0, 1 << 15, cv2.BORDER_CONSTANT)
    if action == "threads":
        for _ in range(10_000):
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    if action == "objects, and go on":
        with contextlib.suppress(MemoryError):
            fill_memory()
    if action == "abort":
        os.abort()
    if action == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return Reply(0, os.getpid())


def fill_memory() -> None:
    objects = []
    while True:
        objects.append(bytearray(10 << 20))


def run(*actions, memory_mb=LIMIT_MB):
    """Results in the order of `actions`."""
    tasks = [Task(f"clip{number}", action, cost=-number) for number, action in enumerate(actions)]
    answers = runner.run(Job(allocate, LIMIT_MB, 60.0, memory_mb), tasks, workers=1)
    results = {answer.task.name: answer.result for answer in answers}
    return [results[task.name] for task in tasks]


@needs_linux
@pytest.mark.parametrize("action", ["objects", "array", "picture", "threads", "objects, and go on"])
def test_a_task_beyond_the_limit_fails_as_out_of_memory_and_its_worker_is_replaced(action):
    first, lost, last = run(1, action, 2)
    assert str(lost) == "out_of_memory: it needs more memory than engine.memory_mb allows a worker process (512 MB)"
    assert (first.value, last.value) == (1, 2)
    assert first.pid != last.pid


def test_a_worker_that_stays_below_the_limit_is_kept():
    first, last = run(1, 2, memory_mb=256)
    assert first.pid == last.pid


@needs_linux
def test_an_abort_under_a_limit_names_the_limit():
    (lost,) = run("abort")
    assert str(lost).endswith("(signal SIGABRT; it may have reached engine.memory_mb, 512 MB)")


def test_a_killed_worker_names_memory_as_a_possible_reason():
    lost, last = run("killed", 1, memory_mb=None)
    assert str(lost).endswith("(signal SIGKILL; the system sends it when memory runs out)")
    assert last.value == 1


def test_the_share_of_a_worker_is_its_part_of_the_machine_and_at_least_the_minimum(monkeypatch):
    monkeypatch.setattr(memory, "machine_bytes", lambda: 64 << 30)
    assert memory.share_mb(4) == 16 << 10
    assert memory.share_mb(512) == memory.MIN_SHARE_MB


def test_limits_of_a_control_group_and_of_the_groups_above_it_count(tmp_path):
    """Version 1 and 2, a group inside another, a path that a container does not see, and `max` for no limit."""
    files = {
        "memory.max": "max",
        "jobs/memory.max": "3000000000",
        "jobs/one/memory.max": "max",
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/slurm/memory.limit_in_bytes": "2000000000",
    }
    for name, text in files.items():
        path = tmp_path / "mounts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    groups = tmp_path / "groups"
    groups.write_text("0::/jobs/one\n4:memory:/slurm/elsewhere/7\n3:cpuset:/\n")
    assert memory._group_limits(groups, tmp_path / "mounts") == [3_000_000_000, 2_000_000_000, 9223372036854771712]
    assert memory._group_limits(tmp_path / "absent", tmp_path / "mounts") == []
