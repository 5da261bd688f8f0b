"""./run starts the stages by the Python that has the project's packages, whatever `python` is in the shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPO

SYSTEM = "/usr/bin:/bin"
LACKS = "error: the python of this shell lacks the packages of `{}`, and there is no .venv: run `make {}`\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the launcher beside the code of the data stages, without .venv."""
    shutil.copy(REPO / "run", tmp_path)
    for package in ("common", "pipeline"):
        shutil.copytree(REPO / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def python_named(folder: Path, name: str, script: str) -> str:
    """A folder for PATH with a program `name` of this shell script."""
    program = folder / "bin" / name
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{program.parent}:{SYSTEM}"


def run(folder: Path, *arguments: str, path: str) -> "subprocess.CompletedProcess[str]":
    """`./run ARGUMENTS` in a shell with this PATH and no activated environment."""
    return subprocess.run(["./run", *arguments], cwd=folder, env={"PATH": path}, capture_output=True, text=True)


def make_venv(folder: Path) -> None:
    """.venv/bin/python, as this test's own interpreter."""
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)


def test_without_any_environment_it_is_one_line(folder):
    path = python_named(folder, "python", "exit 1")
    for package, target in (("pipeline", "setup-data"), ("training", "setup")):
        done = run(folder, package, "--help", path=path)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", LACKS.format(package, target))


def test_python_of_venv_comes_before_the_one_of_the_shell(folder):
    make_venv(folder)
    path = python_named(folder, "python", "echo wrong; exit 0")
    done = run(folder, "pipeline", "--help", path=path)
    assert done.stdout.startswith("usage: python -m pipeline ")


def test_python_of_an_activated_environment_is_used_where_there_is_no_venv(folder):
    path = python_named(folder, "python", f'exec {sys.executable} "$@"')
    assert run(folder, "pipeline", "--help", path=path).stdout.startswith("usage: python -m pipeline ")


def test_it_can_be_called_from_another_folder_and_passes_exit_codes_on(folder, tmp_path_factory):
    make_venv(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    env = {"PATH": SYSTEM, "PYTHONPATH": str(folder)}
    done = subprocess.run([folder / "run", "pipeline", "merge"], cwd=elsewhere, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: params.yaml does not exist")


def start_dvc(folder: Path, path: str) -> "subprocess.CompletedProcess[str]":
    """`dvc repro merge`, by this environment's dvc, in a shell where this environment is not activated."""
    dvc = Path(sys.executable).with_name("dvc")
    own = {"PATH": path, "SHELL": "/bin/sh", "HOME": os.environ["HOME"], "DVC_NO_ANALYTICS": "1"}
    site = {"DVC_SITE_CACHE_DIR": str(folder / "site")}
    return subprocess.run(
        [dvc, "repro", "-s", "-f", "merge"], cwd=folder, env=own | site, capture_output=True, text=True
    )


def test_dvc_without_an_environment_ends_before_an_output_is_removed(folder):
    """`dvc repro` from another environment (pipx) in a checkout without .venv."""
    stages = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    stage = stages["merge"]
    stage["deps"] = ["pipeline"]
    del stage["params"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"merge": stage}}))
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    outputs = [folder / path for entry in stage["outs"] for path in entry]
    (folder / "manifests").mkdir()
    for output in outputs:
        output.write_text("earlier result")
    done = start_dvc(folder, python_named(folder, "python", "echo an older python >&2; exit 1"))
    assert done.returncode != 0
    assert LACKS.format("pipeline", "setup-data") in done.stderr
    assert "Traceback" not in done.stderr
    assert outputs
    assert all(output.read_text() == "earlier result" for output in outputs)
