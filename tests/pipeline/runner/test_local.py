"""The local runner: crashes, hangs and errors cost one task; a bug or a full disk ends the run."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import WorkError
from pipeline import runner
from pipeline.records.failures import ClipError, Failure
from pipeline.runner import Job, Task
from pipeline.runner.worker import Worker, _is_stopped
from tests.conftest import REPO
from tests.reliability.runs import Descendants, needs_proc, wait_for


@dataclass(frozen=True)
class Instruction:
    """An action of the work function, with its parameter."""

    action: str
    value: int = 0


class BrokenAtError(ClipError):
    """A subclass with other arguments than `ClipError`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Failure.DECODE_ERROR, f"broken at {seconds:.1f} s")


@dataclass(frozen=True)
class Reply:
    value: int
    pid: int


def execute(instruction: Instruction, offset: int) -> Reply:
    if instruction.action == "die":
        os.kill(os.getpid(), instruction.value)
    if instruction.action == "segfault":
        ctypes.string_at(0)
    if instruction.action == "exit":
        os._exit(instruction.value)
    if instruction.action == "hang":
        time.sleep(600)
    if instruction.action in ("start and hang", "start and compute"):
        subprocess.Popen(["sleep", "600"])
        while instruction.action == "start and compute":
            pass
        time.sleep(600)
    if instruction.action == "sleep":
        time.sleep(instruction.value / 1000)
    if instruction.action == "fail":
        raise ClipError(Failure.DECODE_ERROR, "broken\n  here")
    if instruction.action == "fail in its own way":
        raise BrokenAtError(instruction.value)
    if instruction.action == "bug":
        raise ZeroDivisionError("oops")
    if instruction.action == "write":
        Path("/dev/full").write_bytes(b"x")
    return Reply(instruction.value + offset, os.getpid())


def run(*instructions: Instruction, workers: int = 1, timeout_s: float = 30.0) -> list[Reply | ClipError]:
    """Results in the order of `instructions`."""
    tasks = [Task(f"clip{n}", instruction, cost=-n) for n, instruction in enumerate(instructions)]
    answers = {a.task.name: a.result for a in runner.run(Job(execute, 100, timeout_s), tasks, workers=workers)}
    return [answers[task.name] for task in tasks]


def values(results):
    return [result.value for result in results]


def test_settings_reach_the_work_function():
    assert values(run(Instruction("return", 1), Instruction("return", 2))) == [101, 102]


@pytest.mark.parametrize(
    ("instruction", "named"),
    [
        (Instruction("die", signal.SIGKILL), "signal SIGKILL"),
        (Instruction("segfault"), "signal SIGSEGV"),
        (Instruction("exit", 3), "exit code 3"),
    ],
    ids=lambda value: value.action if isinstance(value, Instruction) else "",
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_dead_worker_fails_its_task_as_worker_died_and_the_others_succeed(instruction, named, workers):
    first, lost, *rest = run(
        Instruction("return", 1), instruction, Instruction("return", 2), Instruction("return", 3), workers=workers
    )
    assert values([first, *rest]) == [101, 102, 103]
    assert lost.code is Failure.WORKER_DIED
    assert named in lost.detail


def test_every_task_is_answered_when_the_worker_dies_each_time():
    assert [result.code for result in run(*[Instruction("exit", 1)] * 3)] == [Failure.WORKER_DIED] * 3


def test_a_hanging_task_fails_as_timeout_and_the_others_succeed():
    first, lost, last = run(
        Instruction("return", 1), Instruction("hang"), Instruction("return", 2), workers=2, timeout_s=4
    )
    assert lost.code is Failure.TIMEOUT
    assert "4 s" in lost.detail
    assert values([first, last]) == [101, 102]


def test_a_clip_error_is_a_result():
    (result,) = run(Instruction("fail"))
    assert str(result) == "decode_error: broken here"


def test_any_subclass_of_clip_error_is_a_result():
    (result,) = run(Instruction("fail in its own way", 3))
    assert str(result) == "decode_error: broken at 3.0 s"


def test_a_bug_ends_the_run_with_its_exception():
    with pytest.raises(ZeroDivisionError, match="oops") as caught:
        run(Instruction("bug"))
    assert "Instruction(action='bug'" in caught.value.__notes__[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_run_with_a_work_error():
    with pytest.raises(WorkError, match="the disk is full; free some space"):
        run(Instruction("write"))


def test_tasks_start_in_order_of_falling_cost():
    tasks = [Task(f"clip{n}", Instruction("return", n), cost=n) for n in range(6)]
    answers = list(runner.run(Job(execute, 0, 30.0), tasks, workers=1))
    assert [answer.result.value for answer in answers] == [5, 4, 3, 2, 1, 0]


def test_tasks_are_spread_over_the_workers():
    tasks = [Task(f"clip{n}", Instruction("sleep", 20)) for n in range(20)]
    answers = list(runner.run(Job(execute, 0, 30.0), tasks, workers=2))
    assert len({answer.result.pid for answer in answers}) == 2
    assert all(answer.seconds >= 0.02 for answer in answers)


def test_no_tasks_start_no_worker():
    assert list(runner.run(Job(execute, 0, 30.0), [], workers=2)) == []


# Its only task starts a process, and then sleeps, or computes without end.
BUSY = """
from pipeline import runner
from tests.pipeline.runner.test_local import Instruction, execute
if __name__ == "__main__":
    list(runner.run(runner.Job(execute, 0, {timeout_s}), [runner.Task("clip", Instruction("{action}"))], workers=1))
"""


def start_busy(here, descendants, action="start and hang", timeout_s=600):
    """A program whose worker has a child process of its own."""
    (here / "busy.py").write_text(BUSY.format(action=action, timeout_s=timeout_s))
    program = subprocess.Popen(
        [sys.executable, "busy.py"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(REPO), **descendants.env},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_for(lambda: any("sleep 600" in line for line in descendants.alive().values()))
    return program


@needs_proc
@pytest.mark.parametrize("action", ["start and hang", "start and compute"])
def test_worker_and_its_child_processes_end_with_a_killed_parent(here, action):
    descendants = Descendants()
    program = start_busy(here, descendants, action)
    program.kill()
    program.communicate()
    descendants.assert_end()


@needs_proc
def test_child_processes_of_an_overdue_or_dead_worker_end(here):
    descendants = Descendants()
    program = start_busy(here, descendants, timeout_s=10)
    assert program.communicate(timeout=60)[1] == ""
    descendants.assert_end()
    program = start_busy(here, descendants)
    (worker,) = [process for process, line in descendants.alive().items() if "spawn_main" in line]
    os.kill(worker, signal.SIGKILL)
    assert program.communicate(timeout=60)[1] == ""
    descendants.assert_end()


@pytest.fixture
def clock(monkeypatch):
    """`clock(s)` moves the clock of this process by so many seconds."""
    ahead, monotonic = [0.0], time.monotonic
    monkeypatch.setattr("pipeline.runner.worker.time.monotonic", lambda: monotonic() + sum(ahead))
    return ahead.append


@pytest.fixture
def worker():
    worker = Worker(Job(execute, 0, 60.0))
    worker.submit(Task("clip", Instruction("sleep", 500)))
    yield worker
    worker.stop()


@needs_proc
def test_time_in_which_a_worker_was_stopped_does_not_count(worker, clock):
    os.kill(worker._process.pid, signal.SIGSTOP)
    assert wait_for(lambda: _is_stopped(worker._process.pid))
    for _ in range(30):
        clock(4)
        assert not worker.is_overdue()
    os.kill(worker._process.pid, signal.SIGCONT)
    assert worker.wait().result.value == 500


def test_time_in_which_this_process_was_stopped_does_not_count(worker, clock):
    clock(3600)  # as a stopped process finds it at its next look
    assert not worker.is_overdue()
    assert worker.wait().result.value == 500


def test_answer_that_is_there_is_not_overdue(worker, clock):
    assert worker.pipe.poll(60)
    for _ in range(30):
        clock(4)
        assert not worker.is_overdue()


@needs_proc
def test_idle_worker_that_is_stopped_ends_with_the_run(monkeypatch):
    monkeypatch.setattr("pipeline.runner.worker._STOP_S", 0.5)
    worker = Worker(Job(execute, 0, 30.0))
    os.kill(worker._process.pid, signal.SIGSTOP)
    worker.stop()
    assert not worker._process.is_alive()
