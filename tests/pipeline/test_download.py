"""download checks the packages that it may need before it fetches anything; its plan can be read by programs."""

import importlib
import json
import sys

import pytest
import yaml

from common.errors import WorkError
from pipeline import download, params
from tests.conftest import REPO, Project
from tests.pipeline.draw import frame_times, write_video


@pytest.mark.parametrize("package", ["yt_dlp", "imageio_ffmpeg"])
def test_youtube_without_its_packages_ends_before_the_download(here, monkeypatch, package):
    settings = yaml.safe_load((REPO / "params.yaml").read_text()) | {"corpus": "full"}
    (here / "params.yaml").write_text(yaml.safe_dump(settings))
    download._check_packages(params.load())
    monkeypatch.setitem(sys.modules, package, None)
    assert importlib.util.find_spec(package) is None
    with pytest.raises(WorkError, match=f"^download.youtube: true needs {package}: run `make dataset CORPUS=full`"):
        download._check_packages(params.load())
    settings["download"]["youtube"] = False
    (here / "params.yaml").write_text(yaml.safe_dump(settings))
    download._check_packages(params.load())


def test_plan_as_json_names_each_source(project: Project):
    write_video(project.root / "clips/a/one.mp4", frame_times(20, 10))
    done = project.call("download", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    (source,) = json.loads(done.stdout)["sources"]
    assert source["name"] == "own"
    assert source["plan"][0].startswith("1 clips in 1 files of 1 classes")
    assert not (project.root / "manifests").exists()


def test_json_without_dry_run_is_refused(project: Project):
    done = project.call("download", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --json is for the plan: add --dry-run, without --refill\n"
