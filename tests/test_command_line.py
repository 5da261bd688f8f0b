"""The two command lines: help with examples, entry points and completion."""

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import completion
from pipeline import __main__ as pipeline
from tests.conftest import REPO
from training import __main__ as training

ENTRIES = {"pipeline": pipeline, "training": training}


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands by name."""
    (found,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found.choices)


def all_commands() -> Iterator[tuple[str, str]]:
    for package, module in ENTRIES.items():
        for name in commands(module.parser()):
            yield package, name


@pytest.mark.parametrize(("package", "name"), all_commands())
def test_help_of_every_command_has_examples_that_it_accepts(package, name):
    parser = ENTRIES[package].parser()
    text = commands(parser)[name].format_help()
    start = f"python -m {package} {name}"
    examples = [line.strip() for line in text.partition("\nexamples:\n")[2].splitlines()]
    assert examples
    for example in examples:
        assert example.startswith(start)
        arguments = shlex.split(example, comments=True)[3:]
        assert parser.parse_args(arguments)


@pytest.mark.parametrize("package", ENTRIES)
def test_entry_point_is_installed_and_names_itself(package, tmp_path):
    program = Path(sys.executable).with_name(f"ssml-{package}")
    if not program.exists():
        pytest.skip("this environment was set up before the entry points: run `make setup`")
    done = subprocess.run([program, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: ssml-{package} ")
    done = subprocess.run([program, "nonsense"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"usage: ssml-{package} ")


@pytest.mark.parametrize("package", ENTRIES)
def test_missing_package_at_import_is_one_line(package, tmp_path):
    code = (
        "import runpy, sys\nsys.modules['pyarrow'] = sys.modules['torch'] = None\n"
        f"sys.argv = ['x', 'report']\nrunpy.run_module('{package}', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def complete(script: Path, program: str, words: list[str]) -> list[str]:
    """What bash offers for the last of `words`."""
    listed = " ".join(shlex.quote(word) for word in [program, *words])
    code = (
        f"source {script}\nCOMP_WORDS=({listed}); COMP_CWORD={len(words)}\n"
        f"_shtab_{program.replace('-', '_')} {program} {shlex.quote(words[-1])}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("package", ENTRIES)
def test_bash_completes_commands_and_options(package, tmp_path):
    script = tmp_path / "completion.sh"
    entry = ENTRIES[package]
    script.write_text(completion.script(entry.parser(entry.ENTRY_POINT), "bash"))
    assert set(complete(script, entry.ENTRY_POINT, [""])) == set(commands(entry.parser()))
    name = {"pipeline": "download", "training": "export-latents"}[package]
    options = {"pipeline": "--dry-run", "training": "--weights"}[package]
    assert options in complete(script, entry.ENTRY_POINT, [name, "--"])


def test_zsh_reads_the_script(tmp_path):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    script = tmp_path / "_ssml-pipeline"
    script.write_text(completion.script(pipeline.parser(pipeline.ENTRY_POINT), "zsh"))
    assert subprocess.run(["zsh", "-n", script]).returncode == 0


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_script_is_printed_for_the_entry_point(shell):
    command = [sys.executable, "-m", "pipeline", "--print-completion", shell]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert "ssml-pipeline" in done.stdout
    assert "python -m" not in done.stdout
