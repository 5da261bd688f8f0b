"""A dataset that one machine has pushed to a DVC remote, another one pulls without running a stage."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.reliability.runs import assert_same, outputs, small_project, start_dvc, with_dvc

pytestmark = pytest.mark.slow


def dvc(project: Project, *arguments: str) -> str:
    """Run `dvc ARGUMENTS` in the project folder; its standard output."""
    process = start_dvc(project, *arguments, env={})
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def test_pulled_dataset_is_the_pushed_one_and_nothing_is_left_to_do(tmp_path: Path):
    here = with_dvc(small_project(tmp_path / "here"))
    dvc(here, "repro", "verify")
    dvc(here, "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    dvc(here, "push")

    there = Project(tmp_path / "there")
    there.root.mkdir()
    for name in ("common", "pipeline", "training", "manifests", "data", "clips", ".dvc/cache", ".dvc/tmp"):
        assert (here.root / name).exists()
    code = shutil.ignore_patterns("manifests", "data", "clips", "cache", "tmp", "__pycache__")
    shutil.copytree(here.root, there.root, ignore=code, dirs_exist_ok=True)
    excluded = Path("manifests/excluded.csv")  # comes with the code
    (there.root / excluded).parent.mkdir()
    shutil.copy(here.root / excluded, there.root / excluded)
    dvc(there, "pull", "verify", "--with-deps")
    assert_same(outputs(there), outputs(here))
    assert there.call("verify").returncode == 0
    assert "Running stage" not in dvc(there, "repro", "merge", "split", "shard", "verify", "--single-item")
