"""A command ends with an exit code and at most one line of error."""

import argparse
import errno
import importlib
import os
import signal
import subprocess
import sys

import pytest

from common import command
from common.errors import ParamError, WorkError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (WorkError("clip x is broken"), 1, "error: clip x is broken\n"),
        (ParamError("key is wrong"), 2, "error: key is wrong\n"),
        (KeyboardInterrupt(), 1, "error: interrupted; finished work is kept, run the same command to continue\n"),
        (PermissionError(errno.EACCES, "Permission denied", "a.mp4"), 1, "error: a.mp4: Permission denied\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.jpg"),
            1,
            "error: a.jpg: the disk is full; free some space and run the same command to continue\n",
        ),
    ],
)
def test_expected_error_becomes_an_exit_code_and_one_line(capsys, error, code, line):
    def main():
        if error is not None:
            raise error

    assert command.run(main) == code
    assert capsys.readouterr().err == line


def test_bug_is_a_traceback():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command.run(main)


def test_package_that_is_not_installed_is_named_in_one_line(capsys):
    assert command.run(lambda: importlib.import_module("jinja3.environment")) == command.FAILED
    assert (
        capsys.readouterr().err == "error: this needs the package jinja3: run `make setup`, or `pip install jinja3`\n"
    )


def test_module_that_an_installed_package_lacks_is_a_traceback():
    with pytest.raises(ModuleNotFoundError):
        command.run(lambda: importlib.import_module("json.missing"))


def test_closed_pipe_ends_the_command_without_output():
    code = "import sys\nfrom common import command\nsys.exit(command.run(lambda: print('line\\n' * 100_000)))"
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert result.returncode == command.FAILED
    assert result.stderr == b""


def test_summary_is_the_first_docstring_line_without_the_name(here):
    (here / "trim.py").write_text(
        '"""trim: cut every clip by stream copy.\n\nMore.\n"""\nraise RuntimeError("imported")\n'
    )
    assert command.summary(here / "trim") == "cut every clip by stream copy"


def test_summary_of_a_package_is_read_from_its_init_file(here):
    (here / "report").mkdir()
    (here / "report/__init__.py").write_text('"""report: write one page."""\n')
    assert command.summary(here / "report") == "write one page"


def test_percent_sign_in_a_summary_is_shown_in_the_help(here, capsys):
    (here / "evaluate.py").write_text('"""evaluate: 95% confidence intervals."""\n')
    parser = argparse.ArgumentParser()
    command.add_command(parser.add_subparsers(), here / "evaluate")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "95% confidence intervals" in capsys.readouterr().out


def test_a_signal_that_a_library_reports_as_an_interrupt_ends_with_its_own_code(capsys):
    """Ray raises a KeyboardInterrupt of its own for any signal that arrives while it waits."""

    def main():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    assert command.run(main) == 143
    assert capsys.readouterr().err == "error: terminated; finished work is kept, run the same command to continue\n"
