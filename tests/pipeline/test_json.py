"""With `--json`, stdout is one JSON document with what the command prints or draws for people."""

import json
from statistics import median
from typing import Any

from tests.conftest import Project


def read_json(project: Project, *arguments: str) -> dict[str, Any]:
    """The one document on stdout of a command with `--json`."""
    done = project.call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_stats_as_json_has_the_numbers_of_the_table(dataset: Project):
    table = dataset.call("stats").stdout.splitlines()
    document = read_json(dataset, "stats")
    for line in table[1 : 1 + len(document["clips"])]:
        source, *numbers = line.split()
        assert [f"{number:,}" for number in document["clips"][source].values()] == numbers
    assert {"losses", "not_videos", "seconds_per_clip"} <= document.keys()
    motions = sorted(row["motion"] for row in dataset.rows("resize").values())
    motion = next(spread for spread in document["measures"] if spread["name"] == "motion")
    assert (motion["min"], motion["median"], motion["max"]) == (motions[0], median(motions), motions[-1])
    assert document["near_duplicates"] == sum(row["duplicate_of"] is not None for row in dataset.rows("clips").values())


def test_show_as_json_names_the_picture_and_its_clips(dataset: Project, tmp_path):
    clip_id, row = next((key, row) for key, row in dataset.rows("resize").items() if row["status"] == "ok")
    document = read_json(dataset, "show", clip_id, "-o", str(tmp_path / "clip.png"))
    assert document["out"] == str(tmp_path / "clip.png")
    assert (tmp_path / "clip.png").exists()
    assert document["clips"] == [row]
    assert len(document["source_s"]) == 100
