"""`torchrun -m training STAGE`: the result of one process, one line for what goes wrong, no process left."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.conftest import REPO
from tests.training import toy

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "training")


@pytest.fixture
def project(tmp_path):
    """Makes project folders by name, with toy shards and params."""

    def make(name, **changes):
        root = tmp_path / name
        root.mkdir()
        toy.write_shards(root, toy.orbit_clips())
        toy.write_params(root, **changes)
        return root

    return make


def start(root, *arguments):
    environment = {"PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes(launcher):
    """Numbers of the processes that the launcher has started."""
    children = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True, check=False).stdout
    return [int(number) for number in children.split()]


def wait_until(condition, seconds=120):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)


def errors(text):
    return [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stages", [("pretrain", "stage1"), ("stage2",), ("pretrain", "stage3")])
def test_two_processes_give_the_weights_metrics_and_curves_of_one(project, stages):
    # Dropout draws other numbers in other processes.
    one, two = (project(name, stage3__adapter__dropout=0.0) for name in ("one", "two"))
    for stage in stages:
        for root, launcher in ((one, ("-m", "training")), (two, TORCHRUN)):
            done = toy.run_python(root, *launcher, stage)
            assert done.returncode == 0, done.stderr
            if root == one:
                expected = done.stdout
        assert [line.split()[:3] for line in done.stdout.splitlines()] == [
            line.split()[:3] for line in expected.splitlines()
        ]
    for checkpoint in sorted((one / "checkpoints").rglob("model.pt")):
        weights, others = (
            torch.load(path, weights_only=True)["model"] for path in (checkpoint, two / checkpoint.relative_to(one))
        )
        assert weights.keys() == others.keys()
        whole, other = (torch.cat([value.flatten() for value in part.values()]) for part in (weights, others))
        assert (
            other - whole
        ).norm() < 1e-2 * whole.norm()  # AdamW makes whole steps of gradients that are rounding errors
    folders = ("checkpoints", "metrics", "plots", "logs")
    written = [
        sorted(named(path, root) for folder in folders for path in (root / folder).rglob("*.*")) for root in (one, two)
    ]
    assert written[0] == written[1]
    for metrics in (one / "metrics").iterdir():
        assert flat(toy.read_json(two / "metrics" / metrics.name)) == pytest.approx(
            flat(toy.read_json(metrics)), rel=0.01, abs=0.05
        )


def named(path, root):
    """The path below the root, without the time, machine and process that TensorBoard's files are named by."""
    return str(path.relative_to(root)).partition(".tfevents.")[0]


def flat(value, prefix=""):
    if not isinstance(value, dict):
        return {prefix: value}
    return {key: item for name, part in value.items() for key, item in flat(part, f"{prefix}/{name}").items()}


def test_a_wrong_param_is_one_line_of_the_first_process(project):
    root = project("one", pretrain__overrides={"dim": 100, "heads": 7})
    done = toy.run_python(root, *TORCHRUN, "pretrain")
    assert done.returncode == 1
    assert errors(done.stderr) == ["error: params.yaml: pretrain: model small_2x8x8: heads is 7: must divide dim, 100"]


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others(project):
    launcher = start(project("one", pretrain__optimiser=toy.optimiser(5000)), *TORCHRUN, "pretrain")
    try:
        wait_until(lambda: len(processes(launcher)) == 2)
        ranks = processes(launcher)
        time.sleep(15)  # into the training
        os.kill(ranks[1], signal.SIGKILL)
        err = launcher.communicate(timeout=60)[1]
        assert launcher.returncode == 1
        assert errors(err)[0] in (
            "error: another process of the run has ended",
            "error: terminated; finished work is kept, run the same command to continue",
        )
        assert not any(is_running(number) for number in ranks)
    finally:
        launcher.kill()


@pytest.mark.slow
def test_processes_end_when_torchrun_is_killed(project):
    launcher = start(project("one", pretrain__optimiser=toy.optimiser(5000)), *TORCHRUN, "pretrain")
    wait_until(lambda: len(processes(launcher)) == 2)
    ranks = processes(launcher)
    time.sleep(15)
    launcher.kill()
    wait_until(lambda: not any(is_running(number) for number in ranks), seconds=30)


@pytest.mark.slow
def test_ctrl_c_is_one_line(project):
    launcher = start(project("one", pretrain__optimiser=toy.optimiser(5000)), *TORCHRUN, "pretrain")
    wait_until(lambda: len(processes(launcher)) == 2)
    ranks = processes(launcher)
    time.sleep(15)
    for number in (launcher.pid, *ranks):  # as a terminal does
        os.kill(number, signal.SIGINT)
    err = launcher.communicate(timeout=60)[1]
    assert errors(err) == ["error: interrupted; finished work is kept, run the same command to continue"]
    assert not any(is_running(number) for number in ranks)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
