"""stats prints the funnel, the losses with an example each, and the median seconds per clip of every ledger."""

import os
import re
import subprocess
import sys
from pathlib import Path

from pipeline.records.rows import TrimRow
from pipeline.runner.ledger import Ledger, Outcome
from tests.conftest import REPO, Project, make_project
from tests.pipeline.draw import frame_times, write_video


def test_funnel_and_losses_of_a_small_dataset(project: Project):
    clips = project.root / "clips"
    for name, frames in {"a/one": 20, "a/two": 21, "b/three": 22, "b/short": 3}.items():
        write_video(clips / f"{name}.mp4", frame_times(frames, 10))
    (clips / "b/broken.mp4").write_bytes(b"no video")
    project.run("download", "trim", "resample", "resize", "merge", "split", "shard")
    result = project.call("stats")
    assert result.returncode == 0, result.stderr
    steps, losses, measures, seconds = result.stdout.split("\n\n")
    assert [line.split() for line in steps.splitlines()] == [
        ["annotated", "wanted", "downloaded", "decoded", "composite", "in", "shards"],
        ["own", "5", "5", "4", "3", "3", "3"],
    ]
    assert re.search(r"^ +1  download  own +unreadable_container +own-b-broken: ", losses, re.MULTILINE)
    assert re.search(r"^ +1  resample  own +too_short +own-b-short: 3 ticks at 10 FPS", losses, re.MULTILINE)
    assert [line.split()[0] for line in measures.splitlines()[2:5]] == ["motion", "sharpness", "brightness"]
    assert measures.endswith("near-duplicates of other clips: 0")
    assert [line.split()[0] for line in seconds.splitlines()[1:]] == ["probe", "trim", "resample", "resize"]
    assert re.search(r"^  resample +\d+\.\d{3} s a clip, median of 3$", seconds, re.MULTILINE)


def test_median_leaves_failures_out(project: Project):
    write_video(project.root / "clips/a/one.mp4", frame_times(20, 10))
    project.run("download")
    row = TrimRow(clip_id="a", source="own", path="a.mp4", lead_in_s=0.0, duration_s=1.0, bytes=1)
    with Ledger("trim", TrimRow) as ledger:
        for number, seconds in enumerate((0.25, 0.5, 4.0)):
            ledger[f"ok-{number}"] = Outcome("key", row, seconds=seconds)
        ledger["lost"] = Outcome("key", None, error="timeout", seconds=120.0)
    assert "  trim      0.500 s a clip, median of 3\n" in project.call("stats").stdout


def test_no_traceback_when_the_reader_closes_the_pipe(dataset: Project):
    command = f"{sys.executable} -m pipeline stats | head -c 1"
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    result = subprocess.run(command, shell=True, cwd=dataset.root, env=environment, capture_output=True, text=True)
    assert result.stderr == ""


def test_without_manifests_it_is_an_error_of_one_line(here: Path):
    result = make_project(here).call("stats")
    assert result.returncode == 1
    assert result.stderr.startswith("error: manifests/download.parquet is missing")
