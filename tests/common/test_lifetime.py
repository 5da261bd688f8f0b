"""Processes end with the one that started them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPO
from tests.reliability.runs import Descendants, needs_proc, wait_for

WORK = """
import sys, time
from common import command, lifetime, signals

signals.exit_at_once()
lifetime.end_with_launcher()

def main():
    print("started", flush=True)
    try:
        time.sleep(60)
    finally:
        print("clean", flush=True)

sys.exit(command.run(main))
"""
# As DVC does: `sh -c COMMAND`, in which most shells replace themselves by a single command.
PARENT = "import subprocess, sys\nsubprocess.Popen(['/bin/sh', '-c', sys.argv[1]]).wait()"


@pytest.fixture
def descendants():
    found = Descendants()
    yield found
    for process in found.alive():
        os.kill(process, signal.SIGKILL)


def start(here, descendants, command, **env):
    """A parent that runs `command`; returns it when the command has started."""
    (here / "work.py").write_text(WORK)
    with (here / "out").open("w") as out, (here / "err").open("w") as err:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, command.format(python=sys.executable)],
            cwd=here,
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONPATH": str(REPO), **descendants.env, **env},
        )
    assert wait_for(lambda: "started" in (here / "out").read_text())
    return parent


@needs_proc
@pytest.mark.parametrize(
    "command", ["{python} work.py", "{python} work.py; true", "sh -c '{python} work.py; true'; true"]
)
def test_stage_of_a_killed_dvc_ends_in_good_order(here, descendants, command):
    parent = start(here, descendants, command, DVC_STAGE="trim")
    parent.kill()
    parent.wait()
    descendants.assert_end()
    assert (here / "out").read_text() == "started\nclean\n"
    assert (here / "err").read_text() == (
        "error: DVC has ended; finished work is kept, run the same command to continue\n"
    )


@needs_proc
def test_stage_that_starts_after_the_end_of_dvc_ends(here, descendants):
    late = "sleep 0.5; {python} work.py; true"
    parent = start(here, descendants, "echo started; " + late, DVC_STAGE="trim")
    parent.kill()
    parent.wait()
    descendants.assert_end()
    assert "DVC has ended" in (here / "err").read_text()


@needs_proc
def test_stage_that_was_started_by_hand_outlives_its_parent(here, descendants):
    parent = start(here, descendants, "{python} work.py")
    parent.kill()
    parent.wait()
    time.sleep(2)
    assert f"{sys.executable} work.py " in descendants.alive().values()
