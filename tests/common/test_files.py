"""A file is the old one or the whole new one; and a command ends with one line, never a traceback."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from common import command
from common.errors import ParamError, WorkError
from common.files import replacing, sweep, write_bytes, write_json
from tests.conftest import REPO


def test_a_write_makes_folders_and_replaces_the_whole(here):
    path = here / "a/b/c.txt"
    write_bytes(path, b"first, and longer")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["c.txt"]


def test_a_failed_write_leaves_the_old_file_and_no_other(here):
    path = here / "a.txt"
    write_bytes(path, b"old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half of the ne")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(here.iterdir()) == [path]


def test_the_temporary_file_lies_beside_its_target_and_keeps_the_suffix(here):
    with replacing(here / "clip.mp4") as temporary:
        assert temporary.parent == here
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"x")


def test_the_longest_file_names_can_be_written(here):
    path = here / ("x" * 251 + ".mp4")
    write_bytes(path, b"data")
    assert path.read_bytes() == b"data"


def test_kill_9_in_the_middle_leaves_the_old_file_and_sweep_clears_the_rest(here):
    path = here / "sub/a.txt"
    write_bytes(path, b"old")
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom common.files import replacing\n"
        "with replacing(Path('sub/a.txt')) as temporary:\n"
        "    temporary.write_bytes(b'half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(REPO)}, cwd=here)
    assert result.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(list(path.parent.iterdir())) == 2
    sweep(here)
    assert list(path.parent.iterdir()) == [path]


def test_json_is_plain_utf8_in_the_order_given(here):
    write_json(here / "a.json", {"z": "ü", "a": [1, 2.5, None]})
    text = (here / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"z": "ü", "a": [1, 2.5, None]}
    assert text.index("z") < text.index("a")
    assert "ü" in text
    assert text.endswith("}\n")


def test_json_that_no_reader_would_take_is_refused(here):
    with pytest.raises(ValueError):
        write_json(here / "a.json", {"x": float("nan")})
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (WorkError("clip x is broken"), 1, "error: clip x is broken\n"),
        (ParamError("key is wrong"), 2, "error: key is wrong\n"),
        (KeyboardInterrupt(), 1, "error: interrupted; what is finished is kept, run the same command to carry on\n"),
        (PermissionError(errno.EACCES, "Permission denied", "a.mp4"), 1, "error: a.mp4: Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device", "a.jpg"), 1, "error: a.jpg: the disk is full; free some"),
    ],
)
def test_every_end_has_its_code_and_line(capsys, error, code, said):
    def main():
        if error is not None:
            raise error

    assert command.run(main) == code
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == (said != "")


def test_a_bug_is_not_hidden():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command.run(main)
