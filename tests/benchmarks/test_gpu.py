"""The program that checks and measures a GPU runs on the CPU, and never prints a number that it has not measured."""

import subprocess
import sys
import time

import pytest

from benchmarks.gpu_checks import Check
from benchmarks.gpu_table import NOT_MEASURED, OutOfTime, Table, time_limit
from tests.conftest import REPO


def fail():
    raise ValueError("no such kernel\nmore")


def test_row_without_enough_time_left_is_not_measured():
    table = Table(seconds=5, judge=True)
    table.measure("a", 10, lambda: pytest.fail("measured"))
    table.measure("b", 1, lambda: [["b", "3 ms", "<= 2 ms", "missed"]])
    assert table.rows == [["a", f"{NOT_MEASURED}: 5 s were left", "", ""], ["b", "3 ms", "<= 2 ms", "missed"]]


def test_row_that_fails_says_why_and_the_next_one_is_measured():
    table = Table(seconds=5, judge=False)
    table.measure("a", 1, fail)
    table.measure("b", 1, lambda: [["b", "3 ms", "<= 2 ms", "missed"]])
    assert table.rows == [["a", f"{NOT_MEASURED}: no such kernel", "", ""], ["b", "3 ms", "<= 2 ms", ""]]


def test_row_that_takes_too_long_is_stopped():
    table = Table(seconds=60, judge=False)
    table.measure("a", 0.05, lambda: time.sleep(30))
    assert table.rows == [["a", f"{NOT_MEASURED}: longer than 0 s", "", ""]]


def test_time_limit_is_not_caught_by_code_that_falls_back_after_errors():
    def fall_back():
        try:
            time.sleep(30)
        except Exception:  # noqa: BLE001 (as the fallback of a failed compilation)
            pytest.fail("caught")

    with pytest.raises(OutOfTime), time_limit(0.05):
        fall_back()


@pytest.mark.parametrize(("error", "passed"), [(0.5e-3, True), (1e-3, True), (2e-3, False), (float("nan"), False)])
def test_check_passes_up_to_its_limit(error, passed):
    assert Check("a", error, 1e-3).passed is passed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_row_is_measured_on_the_cpu_with_tiny_models():
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 checks failed" in done.stdout
    assert NOT_MEASURED not in done.stdout
    for row in ("VideoMAE-B, 224, eager loop", "against transformers", "clips from shards to the device"):
        assert row in done.stdout
