"""Signals end a command with one line and an exit code, at whatever moment they arrive."""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPO, restore_signals

INTERRUPTED = "error: interrupted; finished work is kept, run the same command to continue\n"
ENDINGS = [
    (signal.SIGINT, 1, INTERRUPTED),
    (signal.SIGTERM, 143, "error: terminated; finished work is kept, run the same command to continue\n"),
    (signal.SIGHUP, 129, "error: the terminal was closed; finished work is kept, run the same command to continue\n"),
]
HEAD = """
import os, signal, sys, time
from common import command, signals

def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(0.01)
"""


def run(code, *, ignored=()):
    """Exit code, stdout and stderr of a Python program in which some signals are ignored from the start."""

    def set_signals():
        restore_signals()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    result = subprocess.run(
        [sys.executable, "-c", HEAD + code], capture_output=True, text=True, env=environment, preexec_fn=set_signals
    )
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize(("number", "code", "line"), ENDINGS)
def test_signal_ends_the_work_after_its_clean_up(number, code, line):
    program = f"""
def main():
    try:
        send({number})
        time.sleep(60)
    finally:
        print("clean")

sys.exit(command.run(main))
"""
    assert run(program) == (code, "clean\n", line)


@pytest.mark.parametrize(("number", "code", "line"), ENDINGS)
def test_signal_before_the_work_ends_the_command(number, code, line):
    assert run(f"signals.exit_at_once()\nsend({number})\ntime.sleep(60)") == (code, "", line)


def test_ctrl_c_after_the_work_does_not_change_the_exit_code():
    program = f"""
import atexit
atexit.register(send, {signal.SIGINT})
signals.exit_at_once()
sys.exit(command.run(lambda: print("done")))
"""
    assert run(program) == (0, "done\n", "")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_during_clean_up_ends_the_command_at_once(second):
    program = f"""
def main():
    try:
        send({signal.SIGINT})
    finally:
        send({second})
        time.sleep(60)

sys.exit(command.run(main))
"""
    assert run(program) == (1, "", INTERRUPTED)


def test_signal_after_an_error_line_prints_no_second_line():
    program = f"""
def main():
    raise OSError("broken")

signals.exit_at_once()
command.run(main)
send({signal.SIGTERM})
time.sleep(60)
"""
    code, _, err = run(program)
    assert (code, err.splitlines()) == (143, ["error: broken"])


def test_signal_in_a_finaliser_is_not_lost():
    program = f"""
class Slow:
    def __del__(self):
        send({signal.SIGTERM})
        time.sleep(60)

def main():
    Slow()
    time.sleep(60)

sys.exit(command.run(main))
"""
    assert run(program) == (143, "", ENDINGS[1][2])


def test_signal_that_a_library_turned_into_another_error_is_one_line():
    program = f"""
def main():
    try:
        send({signal.SIGINT})
        time.sleep(60)
    except KeyboardInterrupt:
        raise ImportError("KeyboardInterrupt: <EMPTY MESSAGE>")

sys.exit(command.run(main))
"""
    assert run(program) == (1, "", INTERRUPTED)


@pytest.mark.parametrize(("number", "shown"), [(signal.SIGINT, False), (None, True)])
def test_exception_in_a_thread_is_shown_unless_the_command_is_ending(number, shown):
    program = f"""
import threading

def main():
    try:
        if {int(number or 0)}:
            send({int(number or 0)})
    finally:
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()

sys.exit(command.run(main))
"""
    assert ("ZeroDivisionError" in run(program)[2]) == shown


def test_ignored_signal_stays_ignored():
    program = f"sys.exit(command.run(lambda: send({signal.SIGHUP}, {signal.SIGINT})))"
    assert run(program, ignored=[signal.SIGHUP, signal.SIGINT]) == (0, "", "")


@pytest.mark.parametrize(("number", "code", "line"), ENDINGS)
def test_deferred_signal_is_raised_after_the_block(number, code, line):
    program = f"""
def main():
    with signals.deferred():
        send({number})
        print("whole")
    time.sleep(60)

sys.exit(command.run(main))
"""
    assert run(program) == (code, "whole\n", line)


def test_handlers_of_the_caller_are_restored():
    program = f"""
signal.signal({signal.SIGTERM}, lambda *_: print("own"))
command.run(lambda: None)
send({signal.SIGTERM})
"""
    assert run(program) == (0, "own\n", "")


INTERRUPT_AT_IMPORT = """
import os, signal, sys

def interrupt(event, arguments):
    if event == "import" and arguments[0] == os.environ["INTERRUPT_AT"]:
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(interrupt)
"""


@pytest.mark.parametrize("package", ["pipeline", "training"])
@pytest.mark.parametrize("module", ["common.lifetime", "threading", "argparse", "common.command"])
def test_ctrl_c_during_any_import_after_that_of_signals_is_one_line(tmp_path, package, module):
    """Only what Python itself imports, and `signal`, comes before."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT_AT_IMPORT)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPO}", "INTERRUPT_AT": module}
    result = subprocess.run(
        [sys.executable, "-m", package, "--help"],
        capture_output=True,
        text=True,
        env=environment,
        preexec_fn=restore_signals,
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, "", INTERRUPTED)
