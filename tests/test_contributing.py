"""The worked example of CONTRIBUTING.md, run as printed there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import sources
from tests.conftest import REPO


@pytest.fixture
def blocks(monkeypatch, tmp_path_factory):
    """The Python blocks of the section; the first is on disk as the module `pipeline.sources.hands`, and is discovered."""
    section = (REPO / "CONTRIBUTING.md").read_text().partition("## Add a dataset")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    folder = tmp_path_factory.mktemp("sources")
    (folder / "hands.py").write_text(blocks[0])
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(folder)])
    monkeypatch.setattr(sources, "SPECS", sources.discover())
    yield blocks
    sys.modules.pop("pipeline.sources.hands", None)


def test_example_source_passes_its_own_test_and_goes_through_the_later_stages(blocks, project):
    namespace: dict = {}
    exec(blocks[1], namespace)
    namespace["test_clips_of_the_zip_are_downloaded"](project)
    project.run("trim", "resample", "resize", "merge")
    assert project.rows("clips")["hands-wave_1"]["class_name"] == "wave"


def test_example_passes_lint_and_types(blocks, tmp_path):
    (tmp_path / "hands.py").write_text(blocks[0])
    tools = Path(sys.executable).parent
    configuration = REPO / "pyproject.toml"
    subprocess.run([tools / "ruff", "check", "--config", configuration, tmp_path], check=True)
    subprocess.run([tools / "ruff", "format", "--check", "--config", configuration, tmp_path], check=True)
    command = [
        tools / "mypy",
        "--config-file",
        configuration,
        "--cache-dir",
        REPO / ".mypy_cache",
        tmp_path / "hands.py",
    ]
    result = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert [line for line in result.stdout.splitlines() if "hands.py" in line] == []
