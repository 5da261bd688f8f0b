"""Projects and processes for tests of faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.reliability.runs import STAGES, Descendants, copy_inputs, run_stages, small_project


@pytest.fixture(scope="package")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small project, taken through all stages; tests read it and change nothing."""
    project = small_project(tmp_path_factory.mktemp("uninterrupted") / "project")
    run_stages(project, STAGES)
    return project


@pytest.fixture
def fresh(uninterrupted: Project, tmp_path: Path) -> Project:
    """A project with the same clips and params in which nothing has been done."""
    return copy_inputs(uninterrupted, tmp_path / "project")


@pytest.fixture
def descendants() -> Iterator[Descendants]:
    """Processes of this test, all of which have to end with it."""
    found = Descendants()
    yield found
    found.assert_end()
