"""Shell completion: the option `--print-completion bash|zsh` prints a script for the shell to read."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh")


def add_option(parser: argparse.ArgumentParser, build: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the option to a command line.

    Args:
        build: makes the parser to complete; its `prog` is the command that the script completes.
    """

    class Print(argparse.Action):
        """Prints the script and ends; shtab is imported only now."""

        def __call__(
            self,
            parser: argparse.ArgumentParser,
            _namespace: argparse.Namespace,
            values: str | Sequence[Any] | None,
            _option: str | None = None,
        ) -> None:
            print(script(build(), str(values)))
            parser.exit()

    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        action=Print,
        default=argparse.SUPPRESS,
        help="print a script that completes commands and options",
    )


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a command line and all of its commands; options that take a path complete file names."""
    import shtab

    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell=shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 (argparse has no public list of them)
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                yield from _actions(command)
