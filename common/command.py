"""Command-line entry: errors become one line and an exit code, and commands are described by their modules' docstrings."""

import argparse
import ast
import contextlib
import errno
import functools
import gc
import importlib.util
import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from common import signals
from common.errors import ParamError, WorkError
from common.redact import redact

DONE, FAILED, USAGE = 0, 1, 2


def run(main: Callable[[], None]) -> int:
    """Call `main` and return the exit code: 0 done, 1 the work could not be done, 2 wrong usage or params.

    Bad data, a bad param, an operating system error, a package that is not installed, Ctrl-C, SIGTERM and SIGHUP print one
    line to stderr; the two signals have the exit codes 143 and 129. Other exceptions are bugs and pass through.
    """
    try:
        with signals.raised():
            code = _run(main)
    except KeyboardInterrupt as error:  # a signal while another error was handled
        code = _interrupted(error)
    if signals.received() is not None:
        gc.collect()  # a pool that was interrupted is finalised now, while the modules that its callbacks need still exist
    return code


def loaded(load: Callable[[], Callable[[], None]]) -> Callable[[], None]:
    """The command that `load` imports; where a package is missing, one that fails with that error, for `run` to print."""
    try:
        return load()
    except ModuleNotFoundError as error:
        return functools.partial(_raise, error)


def _raise(error: Exception) -> None:
    raise error


def _run(main: Callable[[], None]) -> int:
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except ParamError as error:
        return _fail(USAGE, str(error))
    except WorkError as error:
        return _fail(FAILED, str(error))
    except BrokenPipeError:
        _discard_output()
        return FAILED
    except OSError as error:
        return _fail(FAILED, _describe(error))
    except Exception as error:
        stopped = signals.received()
        if stopped is not None:
            return _interrupted(stopped)  # extension modules turn an interrupted import into an ImportError
        missing = _missing_package(error)
        if missing is None:
            raise
        return _fail(FAILED, f"this needs the package {missing}: run `make setup`, or `pip install {missing}`")
    return DONE


def print_json(document: Mapping[str, object]) -> None:
    """Print the one JSON document that a command with `--json` has on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def program(package: str, entry_point: str) -> str:
    """How this process was started, for the help: by the installed entry point or by `python -m`."""
    return entry_point if Path(sys.argv[0]).stem == entry_point else f"python -m {package}"


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", module: Path, examples: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """Add a command named after `module`, with the first sentence of the module's docstring as its help.

    Args:
        examples: arguments with a comment each, such as `--dry-run  # what would be fetched`.
    """
    text = summary(module).replace("%", "%%")  # argparse formats help with %
    added = commands.add_parser(
        module.name,
        help=text,
        description=textwrap.fill(f"{text}. Settings: params.yaml.", 100),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    describe_examples(added, examples)
    return added


def describe_examples(parser: argparse.ArgumentParser, examples: Sequence[str]) -> None:
    """List examples, as in `add_command`, below the options in the help of a command."""
    if examples:
        parser.epilog = "\n".join(["examples:", *(f"  %(prog)s {example}".rstrip() for example in examples)])


def summary(module: Path) -> str:
    """The first sentence of a module's docstring, without the module's name and the full stop.

    Read from the source file, because importing a stage imports torch or OpenCV: `"trim: cut clips."` gives `cut clips`.

    Args:
        module: path without `.py`, or the folder of a package.
    """
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].removeprefix(f"{module.name}: ").removesuffix(".")


def _missing_package(error: Exception) -> str | None:
    """The package that is not installed at all, if that is the error; a module missing from a package is a bug."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    package = error.name.partition(".")[0]
    return package if importlib.util.find_spec(package) is None else None


def _interrupted(error: KeyboardInterrupt) -> int:
    # Ray raises a KeyboardInterrupt of its own for any signal.
    stopped = error if isinstance(error, signals.Stopped) else signals.received() or signals.Stopped(signal.SIGINT)
    return _fail(stopped.code, stopped.message)


def _fail(code: int, message: str) -> int:
    message = redact(message)
    with contextlib.suppress(OSError):  # a terminal that was closed
        print(f"\nerror: {message}" if sys.stderr.isatty() else f"error: {message}", file=sys.stderr, flush=True)
    signals.printed()
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()
    return code


def _discard_output() -> None:
    """Lead stdout to nowhere when its reader (`| head`) has closed the pipe: Python flushes it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe(error: OSError) -> str:
    path = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{path}the disk is full; free some space and run the same command to continue"
    return f"{path}{error.strerror or error}"
