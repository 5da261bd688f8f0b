"""A stage runs once at a time in a project folder."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from common.errors import WorkError
from common.lock import alone, hold
from common.paths import LOCKS
from tests.conftest import REPO

HOLD = (
    "import time\nfrom common.lock import hold\nwith hold('trim'):\n    print('held', flush=True)\n    time.sleep(60)"
)


@pytest.fixture
def holder(here):
    """Another process that holds the lock of `trim`."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_second_run_of_a_stage_is_an_error_that_names_the_first(holder):
    with pytest.raises(WorkError) as caught, hold("trim"):
        pass
    assert str(caught.value) == (f"trim is running in this folder already, as process {holder.pid}: wait for its end")


def test_other_stages_and_other_folders_are_not_locked(holder, tmp_path_factory, monkeypatch):
    calls = []
    alone("resize", lambda: calls.append("resize"))()
    monkeypatch.chdir(tmp_path_factory.mktemp("other"))
    alone("trim", lambda: calls.append("trim"))()
    assert calls == ["resize", "trim"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_lock_ends_with_its_process(holder, number):
    holder.send_signal(number)
    holder.wait()
    with hold("trim"):
        assert (LOCKS / "trim").read_text() == f"{os.getpid()}\n"
    with hold("trim"):
        pass


def test_stage_runs_where_files_cannot_be_locked(here, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with hold("trim"):
        pass
