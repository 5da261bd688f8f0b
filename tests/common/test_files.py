"""Atomic file writes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from common.files import has_room, replacing, sweep, sweep_beside, write_bytes, write_json


@pytest.mark.parametrize(
    ("total", "free", "size", "room"),
    [
        (1000, 50, 40, True),  # in GB
        (1000, 50, 46, False),
        (1000, 5, 0, False),
        (20, 3, 0.9, True),  # a tenth of a small disk
        (20, 3, 1.1, False),
    ],
)
def test_caches_leave_5_gb_or_a_tenth_of_a_disk_free(here, monkeypatch, total, free, size, room):
    asked = []
    usage = namedtuple("usage", "total used free")(total * 1e9, (total - free) * 1e9, free * 1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    (here / "data").mkdir()
    assert has_room(Path("data/clips/new"), int(size * 1e9)) is room
    assert asked[0].resolve() == here / "data"


def test_write_creates_folders_and_replaces_the_file(here):
    path = here / "a/b/c.txt"
    write_bytes(path, b"first, and longer")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["c.txt"]


def test_failed_write_keeps_the_old_file_and_removes_the_temporary_one(here):
    path = here / "a.txt"
    write_bytes(path, b"old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half of the ne")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(here.iterdir()) == [path]


def test_file_is_flushed_before_the_rename_and_its_folder_after(here, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace

    def recording_fsync(descriptor):
        events.append(("flush", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def recording_replace(source, target):
        events.append(("rename", replace(source, target).stat().st_ino))

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "replace", recording_replace)
    write_bytes(here / "sub/a.txt", b"data")
    file, folder = (here / "sub/a.txt").stat().st_ino, (here / "sub").stat().st_ino
    assert events == [("flush", file), ("rename", file), ("flush", folder)]


def test_file_is_written_where_folders_cannot_be_flushed(here, monkeypatch):
    fsync = os.fsync

    def fsync_of_files_only(descriptor):
        if os.fstat(descriptor).st_ino == here.stat().st_ino:
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_of_files_only)
    write_bytes(here / "a.txt", b"data")
    assert (here / "a.txt").read_bytes() == b"data"


def test_temporary_file_is_in_the_same_folder_with_the_same_suffix(here):
    with replacing(here / "clip.mp4") as temporary:
        assert temporary.parent == here
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"x")


def test_longest_file_name_can_be_written(here):
    path = here / ("x" * 251 + ".mp4")
    write_bytes(path, b"data")
    assert path.read_bytes() == b"data"


def test_kill_9_during_a_write_keeps_the_old_file_and_sweep_deletes_the_temporary_one(here):
    path = here / "sub/a.txt"
    write_bytes(path, b"old")
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom common.files import replacing\n"
        "with replacing(Path('sub/a.txt')) as temporary:\n"
        "    temporary.write_bytes(b'half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=here)
    assert result.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(list(path.parent.iterdir())) == 2
    sweep(here)
    assert list(path.parent.iterdir()) == [path]


def test_sweep_spares_the_temporary_files_of_running_processes(here):
    with replacing(here / "a.txt") as temporary:
        temporary.write_bytes(b"half")
        sweep(here)
        assert temporary.exists()
    (here / ".part-nobody.txt").write_bytes(b"half")
    sweep(here)
    assert [path.name for path in here.iterdir()] == ["a.txt"]


def test_sweep_deletes_the_temporary_file_of_an_earlier_process_of_the_same_number(here):
    temporary = here / f".part-{os.getpid()}-a.txt"
    temporary.write_bytes(b"half")
    os.utime(temporary, (1, 1))
    sweep(here)
    assert list(here.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_sweep_deletes_the_temporary_file_of_an_ended_process_that_nobody_has_waited_for(here):
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    (here / f".part-{process.pid}-a.txt").write_bytes(b"half")
    sweep(here)
    process.wait()
    assert list(here.iterdir()) == []


def test_sweep_beside_deletes_what_killed_processes_left_of_one_file_alone(here):
    ended, running = 99_999_999, os.getppid()
    stale = here / f".part-{ended}-[a].txt"
    others = [here / f".part-{running}-[a].txt", here / f".part-{ended}-b.txt", here / f"sub/.part-{ended}-[a].txt"]
    (here / "sub").mkdir()
    for path in (stale, *others):
        path.write_bytes(b"half")
    sweep_beside(here / "[a].txt")
    assert not stale.exists()
    assert all(path.exists() for path in others)


def test_json_is_utf8_with_keys_in_the_order_given(here):
    write_json(here / "a.json", {"z": "ü", "a": [1, 2.5, None]})
    text = (here / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"z": "ü", "a": [1, 2.5, None]}
    assert text.index("z") < text.index("a")
    assert "ü" in text
    assert text.endswith("}\n")


def test_nan_is_not_written_as_json(here):
    with pytest.raises(ValueError):
        write_json(here / "a.json", {"x": float("nan")})
    assert list(here.iterdir()) == []
