"""publish: all files of the dataset at a URL or in one commit of the hub, resumable, the card last; a dry run uploads nothing."""

import hashlib
import io
import json
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from fsspec.implementations.local import LocalFileSystem

from common.errors import ParamError, WorkError
from pipeline.tools import publish
from tests.pipeline.tools.hub import serve

NAMES = {
    *("test-000000.tar", "train-000000.tar", "train-000001.tar"),
    *("README.md", "shards.parquet", "croissant.json", "ro-crate-metadata.json"),
    *("preview.parquet", "preview.tar", "preview.webp"),
}
TOKEN = "hf_abcdefghijklmnop"


@pytest.fixture
def project(dataset_copy):
    return dataset_copy


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# What is published


def test_folder_has_every_file_and_the_shards_as_they_are(project, tmp_path):
    publish.main((tmp_path / "out").as_uri())
    found = contents(tmp_path / "out")
    assert found.keys() == NAMES | {"published.json"}
    for path in project.root.glob("data/shards/*.tar"):
        assert found[path.name] == path.read_bytes()
    assert found["shards.parquet"] == project.manifest("shards")
    journal = json.loads(found["published.json"])
    assert journal == {"complete": True, "files": {name: sha256(found[name]) for name in sorted(NAMES)}}


def test_published_crate_describes_every_published_file(project, tmp_path):
    publish.main((tmp_path / "out").as_uri())
    found = contents(tmp_path / "out")
    crate = json.loads(found["ro-crate-metadata.json"])["@graph"]
    described = {entity["@id"]: entity["sha256"] for entity in crate if entity["@type"] == "File"}
    assert described == {name: sha256(found[name]) for name in NAMES - {"ro-crate-metadata.json"}}


def test_published_card_names_the_preview_and_that_of_the_shards_does_not(project, tmp_path):
    publish.main((tmp_path / "out").as_uri())
    published, own = tmp_path / "out/README.md", project.root / "data/shards/README.md"
    assert 'load_dataset("parquet", data_files="preview.parquet")' in published.read_text()
    assert "![clips of some classes, moving](preview.webp)" in published.read_text()
    assert "preview" not in own.read_text()
    front, own_front = (yaml.safe_load(path.read_text().split("---")[1]) for path in (published, own))
    assert front.pop("configs") == [
        *own_front.pop("configs"),
        {"config_name": "preview", "data_files": "preview.tar"},
    ]
    assert front == own_front


def test_preview_moves_as_the_clip_does(project, tmp_path):
    image = pytest.importorskip("PIL.Image")
    publish.main((tmp_path / "out").as_uri())
    rows = pq.read_table(tmp_path / "out/preview.parquet").to_pylist()
    assert [row["class_name"] for row in rows] == ["class 0", "class 1", "class 2"]
    for row in rows:
        animation = image.open(io.BytesIO(row["animation"]["bytes"]))
        shard = project.rows("shards")[row["clip_id"]]
        assert (animation.n_frames, animation.size) == (shard["valid_frames"], (64, 64))
        assert animation.info["loop"] == 0
        first = np.asarray(animation.convert("RGB")).astype(int)
        animation.seek(animation.n_frames - 1)
        assert np.abs(np.asarray(animation.convert("RGB")).astype(int) - first).max() > 20


def test_picture_of_the_card_shows_clips_moving_side_by_side(project, tmp_path):
    image = pytest.importorskip("PIL.Image")
    publish.main((tmp_path / "out").as_uri())
    clips = [row["clip_id"] for row in pq.read_table(tmp_path / "out/preview.parquet").to_pylist()]
    picture = image.open(tmp_path / "out/preview.webp")
    assert picture.n_frames == max(project.rows("shards")[clip]["valid_frames"] for clip in clips)
    assert picture.width == len(clips) * (2 * 64 + 2)


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_datasets_reads_the_shards_by_default_and_the_preview_by_its_name(project, tmp_path, streaming):
    datasets = pytest.importorskip("datasets")
    publish.main((tmp_path / "out").as_uri())
    out, options = str(tmp_path / "out"), {"split": "train", "cache_dir": str(tmp_path / "cache")}
    assert len(list(datasets.load_dataset(out, **options, streaming=streaming))) == 8
    preview = list(datasets.load_dataset(out, "preview", **options, streaming=streaming))
    rows = project.rows("shards")
    assert {s["json"]["class_name"] for s in preview} == {"class 0", "class 1", "class 2"}
    assert {s["json"]["clip_id"]: s["webp"].n_frames for s in preview} == {
        s["__key__"]: rows[s["__key__"]]["valid_frames"] for s in preview
    }


def test_hugging_face_datasets_reads_the_parquet_file_of_the_preview(project, tmp_path):
    datasets = pytest.importorskip("datasets")
    publish.main((tmp_path / "out").as_uri())
    options = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    preview = datasets.load_dataset("parquet", data_files=str(tmp_path / "out/preview.parquet"), **options)
    rows = project.rows("shards")
    assert {s["clip_id"]: s["animation"].n_frames for s in preview} == {
        s["clip_id"]: rows[s["clip_id"]]["valid_frames"] for s in preview
    }


# Again, interrupted, changed


def test_second_run_sends_nothing(project, tmp_path, capsys):
    publish.main((tmp_path / "out").as_uri())
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.name in NAMES}
    publish.main((tmp_path / "out").as_uri())
    assert "0 were uploaded now" in capsys.readouterr().out
    assert times == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.name in NAMES}


def test_interrupted_upload_continues_and_the_card_comes_last(project, tmp_path, monkeypatch, capsys):
    """The connection fails at the third file."""
    move = LocalFileSystem.mv
    moved = []

    def fail_at_third(self, source, target, **options):
        if "published.json" not in target:
            if len(moved) == 2:
                raise OSError("connection reset")
            moved.append(target)
        return move(self, source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "mv", fail_at_third)
        with pytest.raises(WorkError, match="connection reset: run the same command again to continue"):
            publish.main((tmp_path / "out").as_uri())
    assert json.loads((tmp_path / "out/published.json").read_text())["complete"] is False
    assert not (tmp_path / "out/README.md").exists()
    publish.main((tmp_path / "out").as_uri())
    assert "8 were uploaded now" in capsys.readouterr().out
    assert contents(tmp_path / "out").keys() == NAMES | {"published.json"}


def test_changed_dataset_replaces_what_changed_and_removes_what_is_gone(project, tmp_path):
    publish.main((tmp_path / "out").as_uri())
    project.set(shard__max_clips=8)
    project.run("shard")
    publish.main((tmp_path / "out").as_uri())
    found = contents(tmp_path / "out")
    assert found.keys() == NAMES - {"train-000001.tar"} | {"published.json"}
    assert found["train-000000.tar"] == (project.root / "data/shards/train-000000.tar").read_bytes()


@pytest.mark.parametrize("journal", [b"", b"[]", b'{"files": {"../x": "y", "README.md": 3}}', b"\xff"])
def test_damaged_journal_counts_as_none(project, tmp_path, journal):
    publish.main((tmp_path / "out").as_uri())
    (tmp_path / "x").write_bytes(b"mine")
    (tmp_path / "out/published.json").write_bytes(journal)
    publish.main((tmp_path / "out").as_uri())
    assert json.loads((tmp_path / "out/published.json").read_text())["complete"] is True
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_other_file_systems_of_fsspec_are_targets_too(project):
    publish.main("memory://published/here")
    system = fsspec.filesystem("memory")
    assert {Path(name).name for name in system.ls("/published/here", detail=False)} == NAMES | {"published.json"}


# Refusals


def test_dry_run_lists_files_and_bytes_and_uploads_nothing(project, tmp_path, capsys):
    publish.main((tmp_path / "out").as_uri(), dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines[:-1]} == NAMES
    total = sum(int(line.split()[0].replace(",", "")) for line in lines[:-1])
    assert f"10 files, {total:,} bytes" in lines[-1]
    assert not (tmp_path / "out").exists()


def test_shard_that_is_not_the_one_that_was_written_is_not_published(project, tmp_path):
    path = project.root / "data/shards/train-000000.tar"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(WorkError, match="is not the one of these shards: run `dvc repro verify`"):
        publish.main((tmp_path / "out").as_uri())
    path.unlink()
    with pytest.raises(WorkError, match=r"train-000000\.tar is missing"):
        publish.main((tmp_path / "out").as_uri())


def test_password_of_a_url_is_not_shown(project, capsys):
    with pytest.raises((ParamError, WorkError)) as caught:
        publish.main("nowhere://user:hunter2@host/folder")
    assert "hunter2" not in str(caught.value) + capsys.readouterr().out


@pytest.mark.parametrize("url", ["hf://datasets/x", "hf://a/b", "hf://datasets/a/b/c", "hf://datasets/../b c"])
def test_url_that_names_no_dataset_repository_is_refused(project, url):
    with pytest.raises(ParamError, match="hf://datasets/OWNER/NAME"):
        publish.main(url)


# The hub


@pytest.fixture
def hub(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    with serve(TOKEN) as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


def test_hub_gets_all_files_in_one_commit(project, hub, tmp_path):
    publish.main("hf://datasets/somebody/drawn")
    publish.main((tmp_path / "out").as_uri())
    (commit,) = hub.commits
    assert commit == {name: data for name, data in contents(tmp_path / "out").items() if name in NAMES}
    assert hub.created == ["drawn"]


def test_hub_that_fails_has_no_commit_and_the_next_run_sends_only_what_it_lacks(project, hub):
    hub.broken_after = 2
    with pytest.raises(WorkError, match=r"somebody/drawn: .*: run the same command again to continue") as caught:
        publish.main("hf://datasets/somebody/drawn")
    assert hub.commits == []
    assert TOKEN not in str(caught.value)
    hub.broken_after = None
    publish.main("hf://datasets/somebody/drawn")
    assert hub.uploads == 6  # three shards, the index, the preview as parquet and as tar: each once
    assert len(hub.commits) == 1


def test_commit_of_a_changed_dataset_deletes_shards_that_are_gone_and_no_other_file(project, hub):
    publish.main("hf://datasets/somebody/drawn")
    hub.commits[-1]["LICENSE"] = b"by hand"
    project.set(shard__max_clips=8)
    project.run("shard")
    publish.main("hf://datasets/somebody/drawn")
    assert hub.commits[-1].keys() == NAMES - {"train-000001.tar"} | {"LICENSE"}


def test_token_that_is_missing_or_refused_is_one_line(project, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(WorkError, match=r"somebody/drawn: .*401") as caught:
        publish.main("hf://datasets/somebody/drawn")
    assert "hf_wrong" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ParamError, match="HF_TOKEN is not set"):
        publish.main("hf://datasets/somebody/drawn")


def test_token_is_in_no_file(project, hub):
    publish.main("hf://datasets/somebody/drawn")
    for path in project.root.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()
