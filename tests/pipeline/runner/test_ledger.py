"""The ledger: every line survives a kill and is read back typed; an older format is dropped, damage is an error."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import WorkError
from pipeline.records.failures import ClipError, Failure
from pipeline.runner.ledger import Ledger, Outcome, digest
from tests.conftest import REPO


@dataclass(frozen=True)
class Made:
    path: str
    numbers: tuple[int, ...] = ()


def test_outcomes_come_back_equal(here):
    outcome = Outcome("key", Made("a.jpg", (1, 2)), attempts=3, seconds=0.25)
    lost = Outcome.failed("key", ClipError(Failure.TIMEOUT, "no result after 120 s"), attempts=2)
    with Ledger("test", Made) as ledger:
        ledger["a"], ledger["b"] = outcome, lost
    with Ledger("test", Made) as ledger:
        assert ledger.load() == {"a": outcome, "b": lost}


def test_a_later_line_replaces_an_earlier_one(here):
    with Ledger("test", Made) as ledger:
        ledger["a"] = Outcome("one", Made("a.jpg"))
        ledger["a"] = Outcome("two", Made("b.jpg"))
        assert ledger.load() == {"a": Outcome("two", Made("b.jpg"))}


@pytest.mark.parametrize("code", list(Failure))
def test_only_transient_failures_are_forgotten(here, code):
    transient = ["not_found", "forbidden", "rate_limited", "timeout", "connection", "truncated", "worker_died"]
    with Ledger("test", Made) as ledger:
        ledger["clip"] = Outcome.failed("key", ClipError(code, "detail"))
        assert ledger.forget_transient() == (code.value in transient)
        assert ledger.load()["clip"].key == ("" if code.value in transient else "key")


def test_results_of_other_fields_are_redone(here):
    @dataclass(frozen=True)
    class Older:
        path: str
        seconds: float

    with Ledger("test", Older) as ledger:
        ledger["a"] = Outcome("key", Older("a.jpg", 0.1))
    with Ledger("test", Made) as ledger:
        assert ledger.load() == {}


def test_a_ledger_of_an_older_format_is_emptied(here):
    path = Path("data/ledgers/test.sqlite")
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE clips (clip_id TEXT PRIMARY KEY, key TEXT, data TEXT)")
        db.execute("INSERT INTO clips VALUES ('a', 'key', '{}')")
    db.close()
    with Ledger("test", Made) as ledger:
        assert ledger.load() == {}
        ledger["a"] = Outcome("key", Made("a.jpg"))
        assert ledger.load()["a"].key == "key"


def test_a_damaged_ledger_is_a_work_error_that_names_the_remedy(here):
    path = Path("data/ledgers/test.sqlite")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(WorkError, match=r"test\.sqlite is damaged .*delete it"), Ledger("test", Made):
        pass


def test_every_line_written_before_kill_9_is_kept(here):
    writer = """
import os, signal
from pipeline.runner.ledger import Ledger, Outcome
from tests.pipeline.runner.test_ledger import Made
with Ledger("test", Made) as ledger:
    for number in range(50):
        ledger[f"clip{number}"] = Outcome("key", Made(f"{number}.jpg"))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run([sys.executable, "-c", writer], env=os.environ | {"PYTHONPATH": str(REPO)})
    assert result.returncode == -signal.SIGKILL
    with Ledger("test", Made) as ledger:
        lines = ledger.load()
    assert {clip_id: outcome.result.path for clip_id, outcome in lines.items()} == {
        f"clip{number}": f"{number}.jpg" for number in range(50)
    }


def test_digests_depend_on_values_alone():
    assert digest("a", {"x": 1, "y": [1, 2]}) == digest("a", {"y": [1, 2], "x": 1})
    assert digest("a", 1) != digest("a", 2)
    assert digest("download") == "c6b12af44c15a9b69ea5bd9c"
