"""The sample's recorded results are of one run, and the documents quote them."""

import hashlib
import subprocess

import pytest
import yaml

from tests.conftest import REPO
from tests.recorded import DOCUMENTS, MARK, TABLES, with_tables

RECORDED = ("dvc.lock", "metrics", "plots")


def git(*arguments: str) -> str | None:
    """The output of git in this repository; None without git, or outside a clone."""
    try:
        result = subprocess.run(["git", *arguments], cwd=REPO, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout


@pytest.fixture(autouse=True, scope="module")
def _recorded() -> None:
    """Only in a clone whose results are as committed: those of another run are in no document."""
    changes = git("status", "--porcelain", "--", *RECORDED)
    if changes is None or not git("ls-files", "dvc.lock"):
        pytest.skip("not in a clone of the repository")
    if changes:
        pytest.skip("the results here are of another run than the recorded one")


def test_metrics_and_curves_are_of_the_run_in_dvc_lock():
    stages = yaml.safe_load((REPO / "dvc.lock").read_text())["stages"]
    outputs = {output["path"]: output["md5"] for stage in stages.values() for output in stage["outs"]}
    files = (git("ls-files", "metrics", "plots") or "").splitlines()
    locked = [path for path in files if path in outputs]
    assert {
        f"metrics/{name}.json" for name in ("dataset", "pretrain", "stage1", "stage2", "stage3", "evaluate")
    } <= set(locked)
    for path in locked:
        assert hashlib.md5((REPO / path).read_bytes()).hexdigest() == outputs[path], path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_those_of_the_recorded_metrics(name):
    text = (REPO / name).read_text()
    assert MARK.search(text)
    assert with_tables(text) == text, "write them with `python -m tests.recorded`"


def test_every_table_is_in_a_document():
    marks = [mark for name in DOCUMENTS for mark in MARK.findall((REPO / name).read_text())]
    assert sorted(marks) == sorted(TABLES)
