"""shard: the same bytes for any number of workers, readable by other tools, with the offset of each filmstrip."""

import hashlib
import json
import shutil
import tarfile

import cv2
import numpy as np
import pytest
import webdataset

from common.errors import WorkError
from pipeline.composite.layout import Member, plan
from pipeline.params import Shard as Settings
from pipeline.records.rows import CompositeRow
from tests.conftest import Project, make_project
from tests.pipeline.conftest import STAGES, build_dataset
from tests.pipeline.draw import frame_times, read_counters, read_filmstrip, write_video


def shards_of(project):
    return sorted((project.root / "data/shards").glob("*.tar"))


# Bytes


def test_one_and_two_workers_write_the_same_bytes(dataset, tmp_path):
    other = build_dataset(tmp_path, workers=2)
    folders = [dataset.root / "data/shards", dataset.root / "manifests"]
    files = [path.relative_to(dataset.root) for folder in folders for path in folder.iterdir()]
    assert len(files) == 3 + 4 + 9  # shards, the documents beside them, manifests
    for path in files:
        assert (dataset.root / path).read_bytes() == (other.root / path).read_bytes(), path


def test_order_of_sets_and_dicts_does_not_change_the_bytes(dataset, tmp_path):
    for seed in ("1", "2"):
        root = tmp_path / seed
        shutil.copytree(dataset.root, root)
        for name in ("clips", "classes", "splits", "shards"):
            (root / f"manifests/{name}.parquet").unlink()
        shutil.rmtree(root / "data/shards")
        for stage in ("merge", "split", "shard"):
            process = Project(root).popen(stage, env={"PYTHONHASHSEED": seed})
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    one, two, original = (
        {path.name: path.read_bytes() for path in (root / "data/shards").iterdir()}
        for root in (tmp_path / "1", tmp_path / "2", dataset.root)
    )
    assert one == two == original


def test_members_have_no_time_and_no_owner(dataset):
    for path in shards_of(dataset):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
                assert (member.isreg(), member.mode) == (True, 0o644)


def test_members_of_a_sample_are_adjacent_with_the_filmstrip_first(dataset):
    for path in shards_of(dataset):
        with tarfile.open(path) as tar:
            names = tar.getnames()
        for first in range(0, len(names), 3):
            clip_id = names[first].removesuffix(".jpg")
            assert names[first : first + 3] == [f"{clip_id}.jpg", f"{clip_id}.json", f"{clip_id}.cls"]


def test_bytes_at_offset_and_length_are_the_filmstrip(dataset):
    filmstrips = dataset.rows("resize")
    for clip_id, row in dataset.rows("shards").items():
        with (dataset.root / row["shard"]).open("rb") as file:
            file.seek(row["offset"])
            data = file.read(row["length"])
        assert data == (dataset.root / filmstrips[clip_id]["path"]).read_bytes()


# Order


def members(count, size=10, split="train"):
    common = {"source": "own", "class_id": 0, "class_name": "x", "labels": ("x",), "video_id": "v", "valid_frames": 9}
    rows = [CompositeRow(clip_id=f"c{n}", path="x.jpg", bytes=size, sha256="", **common) for n in range(count)]
    return [Member(row, split) for row in rows]


def order(seed):
    shards = plan(members(20), Settings(seed, 100, 1 << 20))
    return [member.clip.clip_id for shard in shards for member in shard.members]


def test_seed_decides_the_order_of_the_clips():
    assert order(0) == order(0)
    assert order(0) != order(1)
    assert sorted(order(0)) == sorted(order(1)) == sorted(member.clip.clip_id for member in members(20))


def test_shard_ends_before_it_exceeds_its_limits():
    large = members(10, size=400_000)
    assert [len(shard.members) for shard in plan(large, Settings(0, 1000, 1 << 20))] == [2] * 5
    assert [len(shard.members) for shard in plan(large, Settings(0, 4, 1 << 30))] == [4, 4, 2]


def test_shards_are_numbered_within_their_split():
    both = [*members(3), *members(2, split="test")]
    assert [shard.path for shard in plan(both, Settings(0, 2, 1 << 20))] == [
        "data/shards/train-000000.tar",
        "data/shards/train-000001.tar",
        "data/shards/test-000000.tar",
    ]


def test_each_class_is_in_the_shards_of_one_split(dataset):
    splits = {}
    for row in dataset.rows("shards").values():
        assert row["shard"].startswith(f"data/shards/{row['split']}-")
        splits.setdefault(row["class_name"], set()).add(row["split"])
    assert sorted(map(sorted, splits.values())) == [["test"], ["train"], ["train"]]


def test_given_list_of_splits_decides_the_shards(project):
    for number, name in enumerate("abcd"):
        write_video(project.root / f"clips/{name}/x.mp4", frame_times(20 + number, 10))
    (project.root / "lists.csv").write_text("class_name,split\na,train\nb,val\nc,test\n")
    project.set(split__by="file", split__file="lists.csv")
    project.run(*STAGES)
    found = {row["class_name"]: row["split"] for row in project.rows("shards").values()}
    assert found == {"a": "train", "b": "val", "c": "test"}  # d is unused
    assert [path.name for path in shards_of(project)] == ["test-000000.tar", "train-000000.tar", "val-000000.tar"]


def test_class_of_one_clip_is_enough_and_class_without_a_usable_clip_is_left_out(project):
    write_video(project.root / "clips/single/x.mp4", frame_times(20, 10))
    write_video(project.root / "clips/other/x.mp4", frame_times(21, 10))
    (project.root / "clips/lost").mkdir()
    (project.root / "clips/lost/x.mp4").write_bytes(b"no video")
    project.run(*STAGES)
    assert {row["class_name"] for row in project.rows("shards").values()} == {"single", "other"}


# Files on disk


def test_changed_or_missing_filmstrip_is_named_and_not_packed(dataset_copy):
    row = next(iter(dataset_copy.rows("clips").values()))
    path = dataset_copy.root / row["path"]
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(WorkError, match=f"{row['clip_id']} has changed since resize wrote it"):
        dataset_copy.run("shard")
    path.unlink()
    with pytest.raises(WorkError, match=f"{row['clip_id']} is missing: run `dvc repro -s -f resize`"):
        dataset_copy.run("shard")


def test_shards_of_an_earlier_run_are_removed(dataset_copy):
    stale = dataset_copy.root / "data/shards/train-000099.tar"
    stale.write_bytes(b"old")
    dataset_copy.run("shard")
    assert not stale.exists()


def test_shards_card_and_manifest_are_copied_to_a_url(dataset_copy, tmp_path):
    dataset_copy.set(shard__copy_to=tmp_path.as_uri() + "/copied")
    dataset_copy.run("shard")
    for path in (*dataset_copy.root.glob("data/shards/*"), dataset_copy.root / "manifests/shards.parquet"):
        assert (tmp_path / "copied" / path.relative_to(dataset_copy.root)).read_bytes() == path.read_bytes()


def test_lossless_webp_filmstrips_keep_their_suffix(here):
    project = make_project(here).set(resize__format="webp", resize__quality=100)
    for name in ("a", "b", "c"):
        write_video(here / f"clips/{name}/x.mp4", frame_times(ord(name) - 60, 10))
    project.run(*STAGES)
    with tarfile.open(project.rows("shards")["own-a-x"]["shard"]) as tar:
        assert "own-a-x.webp" in tar.getnames()
    assert read_filmstrip(project.rows("resize")["own-a-x"]["path"]).shape == (100, 64, 64, 3)


# Other tools


def test_stock_webdataset_reads_every_sample(dataset):
    rows, clips = dataset.rows("shards"), dataset.rows("clips")
    urls = [str(path) for path in shards_of(dataset)]
    samples = {sample["__key__"]: sample for sample in webdataset.WebDataset(urls, shardshuffle=False)}
    assert samples.keys() == rows.keys()
    for clip_id, sample in samples.items():
        described = json.loads(sample["json"])
        assert int(sample["cls"]) == rows[clip_id]["class_id"] == described["class_id"]
        assert described["split"] == rows[clip_id]["split"]
        assert (described["fps"], described["labels"]) == (10, clips[clip_id]["labels"])
        picture = cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (6400, 64, 3)
        frames = 20 + int(clips[clip_id]["video_id"].removesuffix(".mp4").split("/")[1])
        assert read_counters(picture.reshape(100, 64, 64, 3))[:frames] == list(range(frames))


def test_hugging_face_datasets_reads_the_folder_by_its_card(dataset, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = dataset.rows("shards")
    for split in ("train", "test"):
        found = datasets.load_dataset(str(dataset.root / "data/shards"), split=split, cache_dir=str(tmp_path / "cache"))
        assert {sample["__key__"] for sample in found} == {n for n, row in rows.items() if row["split"] == split}
        sample = found[0]
        assert np.asarray(sample["jpg"].convert("RGB")).shape == (6400, 64, 3)
        assert sample["json"]["class_id"] == int(sample["cls"]) == rows[sample["__key__"]]["class_id"]


def test_card_lists_the_digest_of_every_shard(dataset):
    card = (dataset.root / "data/shards/README.md").read_text()
    assert "12 clips of 3 classes; 100 frames at 10 FPS, 64x64." in card
    for path in shards_of(dataset):
        assert f"| {path.name} | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |" in card
