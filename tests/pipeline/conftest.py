"""A small dataset, built once for the tests that read it."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Project, make_project
from tests.pipeline.draw import frame_times, write_video

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")


def build_dataset(root: Path, *, workers: int) -> Project:
    """Build twelve clips of three classes, in shards of at most four clips; clip n has 20 + n frames at 10 FPS."""
    project = make_project(root).set(engine__workers=workers, shard__max_clips=4)
    for number in range(12):
        write_video(root / f"clips/class {number % 3}/{number}.mp4", frame_times(20 + number, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        project.run(*STAGES)
    return project


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The dataset of `build_dataset`; tests read it and change nothing."""
    return build_dataset(tmp_path_factory.mktemp("dataset"), workers=1)


@pytest.fixture
def dataset_copy(dataset: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the dataset that the test may change, as the current folder."""
    shutil.copytree(dataset.root, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return Project(tmp_path / "copy")
