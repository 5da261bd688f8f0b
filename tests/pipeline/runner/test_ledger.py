"""The ledger: every line survives a kill and is read back typed; intact lines of a damaged ledger are kept."""

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
    transient = ["not_found", "forbidden", "rate_limited", "timeout", "connection", "truncated"]
    transient += ["worker_died", "out_of_memory"]
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


def test_lines_of_the_format_before_digests_are_kept(here):
    path = Path("data/ledgers/test.sqlite")
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE clips (clip_id TEXT PRIMARY KEY, key TEXT NOT NULL, error TEXT, error_detail TEXT, "
            "attempts INTEGER NOT NULL, seconds REAL NOT NULL, result TEXT)"
        )
        db.execute("""INSERT INTO clips VALUES ('a', 'key', NULL, NULL, 1, 2, '{"path": "a.jpg", "numbers": [1]}')""")
        db.execute("PRAGMA user_version=2")
    db.close()
    for _ in range(2):
        with Ledger("test", Made) as ledger:
            assert ledger.load() == {"a": Outcome("key", Made("a.jpg", (1,)), seconds=2.0)}


def write_lines(count):
    """Write a ledger of `count` lines; returns its path."""
    with Ledger("test", Made) as ledger:
        for number in range(count):
            ledger[f"clip{number:03d}"] = Outcome("key", Made(f"{number}.jpg", tuple(range(100))))
    return Path("data/ledgers/test.sqlite")


def test_file_that_is_no_ledger_is_set_aside_with_one_line(here, capsys):
    path = Path("data/ledgers/test.sqlite")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage" * 1000)
    with Ledger("test", Made) as ledger:
        assert ledger.load() == {}
        ledger["a"] = Outcome("key", Made("a.jpg"))
    with Ledger("test", Made) as ledger:
        assert list(ledger.load()) == ["a"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("data/ledgers/test.sqlite is damaged (file is not a database): 0 clips are kept")
    assert Path("data/ledgers/test.sqlite.damaged").read_bytes() == b"garbage" * 1000


def test_lines_around_a_damaged_page_are_kept(here, capsys):
    path = write_lines(200)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    path.write_bytes(data)
    with Ledger("test", Made) as ledger:
        kept = ledger.load()
    assert 100 < len(kept) < 200
    assert f"{len(kept)} clips are kept" in capsys.readouterr().out
    assert all(outcome.result.path == f"{int(clip_id[4:])}.jpg" for clip_id, outcome in kept.items())


def test_line_with_a_flipped_bit_is_left_out(here):
    path = write_lines(20)
    data = bytearray(path.read_bytes())
    data[data.index(b'"7.jpg"') + 1] ^= 1
    path.write_bytes(data)
    with Ledger("test", Made) as ledger:
        assert sorted(ledger.load()) == sorted(f"clip{number:03d}" for number in range(20) if number != 7)


def test_folder_in_place_of_a_ledger_is_a_work_error(here):
    Path("data/ledgers/test.sqlite").mkdir(parents=True)
    with pytest.raises(WorkError, match=r"test\.sqlite is a folder: delete it"), Ledger("test", Made):
        pass


def test_ledger_that_another_process_holds_is_not_taken_for_damage(here):
    path = write_lines(1)
    with sqlite3.connect(path, isolation_level=None) as other, Ledger("test", Made) as ledger:
        other.execute("BEGIN IMMEDIATE")
        ledger._db.execute("PRAGMA busy_timeout=1")
        with pytest.raises(WorkError, match=r"database is locked: another process uses it"):
            ledger["a"] = Outcome("key", Made("a.jpg"))
    other.close()


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
