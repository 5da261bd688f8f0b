"""The notebooks in docs/notebooks: without outputs, their links lead to files, and every cell runs on a small dataset."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import REPO, Project, make_project
from tests.notebook_cells import code_cells
from tests.pipeline.conftest import STAGES
from tests.pipeline.draw import frame_times, write_video

NOTEBOOKS = sorted(REPO.glob("docs/notebooks/*.ipynb"))
CLASSES, CLIPS = 12, 3


def load(notebook: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def twelve_classes(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three clips of each of twelve classes, half of them held out, and one empty file."""
    root = tmp_path_factory.mktemp("twelve")
    project = make_project(root).set(split__held_out=0.5)
    for number in range(CLASSES * CLIPS):
        write_video(root / f"clips/class {number % CLASSES}/{number}.mp4", frame_times(11 + number, 10))
    (root / "clips/class 0/empty.mp4").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        project.run(*STAGES)
    return project


@pytest.fixture(scope="module")
def shown(twelve_classes: Project) -> list[dict[str, str]]:
    """What the cells of clips.ipynb show, run from a folder below the project."""
    for package in ("torch", "PIL", "pandas", "webdataset"):
        pytest.importorskip(package)
    notebook = REPO / "docs/notebooks/clips.ipynb"
    folder = twelve_classes.root / "docs/notebooks"
    folder.mkdir(parents=True)
    command = [sys.executable, "-P", str(REPO / "tests/notebook_cells.py"), str(notebook)]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(code_cells(notebook))
    return [cell for cell in found if cell is not None]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_committed_without_outputs(notebook):
    cells = [cell for cell in load(notebook)["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert [cell["execution_count"] for cell in cells] == [None] * len(cells)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_links_of_a_notebook_lead_to_files(notebook):
    text = "\n".join("".join(cell["source"]) for cell in load(notebook)["cells"] if cell["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (notebook.parent / link).exists()] == []


def test_tables_count_the_clips_and_tell_why_one_is_missing(shown):
    status, reasons, splits = (json.loads(cell["text"]) for cell in shown[:3])
    wanted = CLASSES * CLIPS
    assert status["download"] == {"ok": wanted, "failed": 1}
    assert status["shards"] == {"ok": wanted, "failed": 0}
    assert list(reasons["clips"].values()) == [1]
    assert "unreadable_container" in next(iter(reasons["clips"]))
    assert list(reasons["example"].values()) == ["the file is empty"]
    assert splits == {"classes": {"test": 6, "train": 6}, "clips": {"test": wanted // 2, "train": wanted // 2}}


def test_clips_by_id_and_in_batches_have_their_shapes(shown):
    assert "torch.Size([100, 64, 64, 3]), torch.uint8" in shown[3]["text"]
    assert shown[5]["text"] == "torch.Size([3, 16, 64, 64, 3])"
    assert "(100, 64, 64, 3)" in shown[6]["text"]


def test_contact_sheet_shows_a_row_per_clip_of_the_class(shown, twelve_classes):
    sheet = cv2.imdecode(np.frombuffer(base64.b64decode(shown[4]["png"]), "u1"), cv2.IMREAD_COLOR_RGB)
    assert sheet.shape == (CLIPS * 64, 10 * 64, 3)
    first = min(row["clip_id"] for row in twelve_classes.rows("shards").values() if row["split"] == "test")
    from training.clips import Clips

    expected = Clips(twelve_classes.root / "manifests/shards.parquet").frames(first)
    assert any(np.array_equal(row, np.hstack(list(expected[::10]))) for row in np.vsplit(sheet, CLIPS))


def test_episodes_have_an_accuracy_for_each_description(shown):
    accuracy = json.loads(shown[-1]["text"])
    assert accuracy.keys() == {"first frame", "movement"}
    assert all(0 <= value <= 1 for value in accuracy.values())
