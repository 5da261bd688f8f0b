"""download checks the packages that it may need before it fetches anything; its plan can be read by programs."""

import importlib
import json
import re
import sys

import pytest
import yaml

from common.errors import WorkError
from pipeline import download, params
from pipeline.sources import traffic
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


def test_plan_as_json_counts_clips_and_bytes_by_source(project: Project):
    sizes = [write_video(project.root / f"clips/a/{n}.mp4", frame_times(20, 10)).stat().st_size for n in range(2)]
    sizes.append(write_video(project.root / "clips/b/2.mp4", frame_times(20, 10)).stat().st_size)
    write_video(project.root / "clips/in no class.mp4", frame_times(20, 10))
    done = project.call("download", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (source,) = document["sources"]
    total = sum(sizes)
    assert source.pop("text")[0] == f"3 clips in 3 files of 2 classes, {total / 1e6:.1f} MB, read in place"
    assert source == {
        "name": "own",
        "files": [{"name": "read in place", "needed": 3, "listed": 3, "bytes": total, "kept_bytes": total}],
        "annotated": 4,
        "wanted": 3,
        "reserve": 0,
        "lost": {"missing_label": 1},
        "classes": {"a": {"wanted": 2, "annotated": 2}, "b": {"wanted": 1, "annotated": 1}},
        "bytes": total,
    }
    assert document["total"] == {"annotated": 4, "wanted": 3, "reserve": 0, "bytes": total}
    assert not (project.root / "manifests").exists()


def test_download_ends_with_its_speed_and_a_rerun_from_the_ledger_with_none(project: Project):
    for name in ("a/one", "b/two"):
        write_video(project.root / f"clips/{name}.mp4", frame_times(20, 10))
    line = r"download: 2 clips in [\d.]+ s, [\d.]+ clips/s, [\d.]+ MB/s read in place"
    assert re.fullmatch(line, project.call("download").stdout.splitlines()[-1])
    assert project.call("download").stdout.splitlines()[-1] == "download: 2 clips ok, 0 failed"


@pytest.mark.parametrize(
    ("received", "limit", "rate"),
    [
        (0, None, "0.2 MB/s read in place"),
        (0, 4.0, "0.2 MB/s read in place"),
        (150_000_000, None, "3.0 MB/s received"),
        (150_000_000, 4.0, "3.0 MB/s received, 75% of download.max_mb_per_s"),
    ],
)
def test_speed_of_a_download_is_what_came_over_the_network(received, limit, rate):
    line = traffic.describe(1500, 50.0, received, read=10_000_000, max_mb_per_s=limit)
    assert line == f"download: 1,500 clips in 50.0 s, 30.0 clips/s, {rate}"


def test_json_without_dry_run_is_refused(project: Project):
    done = project.call("download", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --json is for the plan: add --dry-run, without --refill\n"
