"""Commands that fail print one line of error and return the exit code of its kind."""

import pytest
import yaml

from tests.conftest import REPO
from tests.pipeline.mirror import write_file


def error_line(result, code):
    """The one line on stderr of a command that ended with exit code `code`."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("resample__fpz", 10, ["resample.fpz", "did you mean fps?"]),
        ("resample__fps", "ten", ["resample.fps", "'ten'", "whole number"]),
        ("resample__fps", 0, ["resample.fps", "0", "from 1 to 240"]),
        ("resample__min_frames", 101, ["min_frames", "101", "at most frames, 100"]),
        ("resize__size", 60, ["resize", "60", "multiple of 8"]),
        ("resize__format", "png", ["resize.format", "'png'", "jpg, webp"]),
        ("engine__memory_mb", 100, ["memory_mb is 100", "at least 256", "null"]),
        ("engine__kind", "cloud", ["engine.kind", "'cloud'", "local"]),
        ("sources__own", {"kind": "youtube"}, ["sources.own.kind", "'youtube'", "folder"]),
        ("sources", {}, ["sources is empty"]),
        ("sources", {"a-b": {"kind": "folder", "root": "clips"}}, ["sources.a-b", "letters, digits and `_`"]),
        ("corpse", "sample", ["corpse", "did you mean corpus?"]),
    ],
)
def test_invalid_param_is_named_with_its_value_and_the_allowed_ones(project, key, value, words):
    line = error_line(project.set(**{key: value}).call("download"), 2)
    assert all(word in line for word in words), line
    assert not (project.root / "manifests").exists()


def test_filmstrip_taller_than_its_format_allows_is_an_error(project):
    project.set(resample__frames=500, resize__format="webp")
    line = error_line(project.call("resize"), 2)
    assert "32000" in line
    assert "16383" in line


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "", "\x00"])
def test_params_that_are_not_a_mapping_are_an_error(project, text):
    (project.root / "params.yaml").write_text(text)
    assert "params.yaml" in error_line(project.call("merge"), 2)


def test_default_params_name_no_folder_outside_the_project():
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    assert all("root" not in entry for entry in params["sources"].values())


def test_missing_root_of_a_folder_is_an_error(project):
    assert "sources.own.root: clips is not a folder" in error_line(project.call("download"), 1)


def test_root_without_videos_is_an_error(project):
    (project.root / "clips/one").mkdir(parents=True)
    assert "no videos below clips" in error_line(project.call("download"), 1)


@pytest.mark.parametrize("stage", ["trim", "merge", "split", "shard", "verify", "stats"])
def test_stage_without_its_input_names_the_command_to_run(project, stage):
    assert "dvc repro" in error_line(project.call(stage), 1)


def test_manifest_that_is_not_parquet_is_an_error(project):
    write_file(project.root / "manifests/download.parquet", b"garbage")
    assert "manifests/download.parquet cannot be read" in error_line(project.call("trim"), 1)


def test_unknown_stage_is_wrong_usage(project):
    result = project.call("transmogrify")
    assert result.returncode == 2
    assert "transmogrify" in result.stderr
    assert "Traceback" not in result.stderr
