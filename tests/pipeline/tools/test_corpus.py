"""corpus changes one line of params.yaml."""

from pathlib import Path

import pytest
import yaml

from common.errors import ParamError
from pipeline.tools import corpus as command
from tests.conftest import REPO, Project


@pytest.fixture
def params(here: Path) -> Path:
    """The repository's params.yaml, in the current folder."""
    path = here / "params.yaml"
    path.write_text((REPO / "params.yaml").read_text())
    return path


@pytest.mark.parametrize(
    "corpus", ["full", "/mnt/mirror", "s3://bucket/a b", "it's #1", "../mirror: old", "*", "~", "123", "true"]
)
def test_only_the_corpus_line_changes_and_yaml_reads_the_value_back(params: Path, corpus: str):
    before = params.read_text()
    command.main(corpus)
    after = params.read_text()
    assert yaml.safe_load(after) == yaml.safe_load(before) | {"corpus": corpus}
    assert sum(old != new for old, new in zip(before.splitlines(), after.splitlines(), strict=True)) == 1
    command.main("sample")
    assert params.read_text() == before


def test_comment_behind_the_value_stays(params: Path):
    params.write_text("corpus: sample  # or full\n")
    command.main("full")
    assert params.read_text() == "corpus: full  # or full\n"


@pytest.mark.parametrize("corpus", ["", "a\nb"])
def test_value_that_is_not_one_line_is_an_error(params: Path, corpus: str):
    with pytest.raises(ParamError, match="must be sample, full, or a folder or URL"):
        command.main(corpus)


def test_params_without_a_corpus_line_are_an_error(params: Path):
    params.write_text("sources: {}\n")
    with pytest.raises(ParamError, match="no line that starts with `corpus:`"):
        command.main("full")


def test_missing_params_file_is_an_error(here: Path):
    with pytest.raises(ParamError, match="run from the project's top folder"):
        command.main("full")


def test_command_switches_the_corpus(project: Project):
    assert project.call("corpus", "full").returncode == 0
    assert yaml.safe_load((project.root / "params.yaml").read_text())["corpus"] == "full"
    assert project.call("corpus", "").returncode == 2
