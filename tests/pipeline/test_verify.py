"""verify: anything wrong in a shard is found and named; metrics/dataset.json counts the content."""

import dataclasses
import io
import json
import tarfile

import numpy as np
import pytest

from common.errors import WorkError
from pipeline.records import manifests
from pipeline.records.rows import CompositeRow, ShardRow
from tests.conftest import make_project
from tests.pipeline.conftest import STAGES
from tests.pipeline.draw import frame_times, write_video


def metrics(project):
    return json.loads((project.root / "metrics/dataset.json").read_text())


def first_shard(project):
    """The path of a shard, and the rows of its clips in their order."""
    rows = sorted(manifests.read(ShardRow), key=lambda row: (row.shard, row.offset))
    return project.root / rows[0].shard, [row for row in rows if row.shard == rows[0].shard]


# Damage: each function changes the bytes of a shard and returns them with a part of the message.


def flip_a_bit(data, rows):
    data[rows[0].offset + rows[0].length // 2] ^= 0x55
    return data, f"{rows[0].clip_id}: its sha256 differs from shards.parquet"


def truncate(data, rows):
    return data[: rows[-1].offset + 100], f"{rows[0].shard}: unexpected end of data"


def remove_all(data, rows):
    return b"", f"{rows[0].shard}: "


def change_class_id(data, rows):
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        data[tar.getmember(f"{rows[0].clip_id}.cls").offset_data] = ord("9")
    return data, f"{rows[0].clip_id}.cls contradicts the manifests"


def rename_a_sample(data, rows):
    renamed = bytes(data).replace(rows[0].clip_id.encode(), b"z" * len(rows[0].clip_id))
    return fix_checksums(bytearray(renamed)), f"{'z' * len(rows[0].clip_id)}.jpg is not in shards.parquet"


def remove_the_last_sample(data, rows):
    end = rows[-1].offset - 512
    return data[:end] + bytes(
        10240
    ), f"{len(rows) - 1} filmstrips, {len(rows)} in shards.parquet; {rows[-1].clip_id} is"


def prepend_a_member(data, rows):
    header = tarfile.TarInfo(f"{rows[0].clip_id}.txt").tobuf(tarfile.USTAR_FORMAT)
    return header + data, f"bytes at {rows[0].offset + 512}, but {rows[0].length} bytes at {rows[0].offset} in"


def remove_the_last_class_member(data, rows):
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        start = tar.getmember(f"{rows[-1].clip_id}.cls").offset
    return data[:start] + bytes(10240), f"{rows[-1].clip_id}.cls is missing"


def change_a_label(data, rows):
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        start = tar.getmember(f"{rows[0].clip_id}.json").offset_data
    data[data.index(b'"labels": ["c', start) + 12] ^= 1
    return data, f"{rows[0].clip_id}.json contradicts the manifests"


def change_the_padding(data, rows):
    data[rows[0].offset + rows[0].length] ^= 1
    return data, f"{rows[0].shard}: a header or the padding of the tar is damaged"


def append_bytes(data, rows):
    return data + b"x", f"{rows[0].shard}: a header or the padding of the tar is damaged"


def fix_checksums(data):
    """Headers of a tar with the checksums of their changed content."""
    for offset in range(0, len(data), 512):
        block = data[offset : offset + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            data[offset + 148 : offset + 156] = b"%06o\0 " % sum(block)
    return data


@pytest.mark.parametrize(
    "damage",
    [
        *(flip_a_bit, truncate, remove_all, change_class_id, rename_a_sample, remove_the_last_sample, prepend_a_member),
        *(remove_the_last_class_member, change_a_label, change_the_padding, append_bytes),
    ],
)
def test_damaged_shard_is_found_and_named(dataset_copy, damage):
    path, rows = first_shard(dataset_copy)
    damaged, message = damage(bytearray(path.read_bytes()), rows)
    path.write_bytes(damaged)
    with pytest.raises(WorkError) as caught:
        dataset_copy.run("verify")
    assert message in str(caught.value)
    assert metrics(dataset_copy)["problems"] >= 1


def test_missing_shard_is_named(dataset_copy):
    path, _ = first_shard(dataset_copy)
    path.unlink()
    with pytest.raises(WorkError, match=path.name):
        dataset_copy.run("verify")


def test_tar_that_is_in_no_manifest_is_named(dataset_copy):
    (dataset_copy.root / "data/shards/train-000077.tar").write_bytes(bytes(10240))
    with pytest.raises(WorkError, match=r"train-000077\.tar: not in shards.parquet"):
        dataset_copy.run("verify")


def test_clip_that_is_missing_from_the_manifest_is_named(dataset_copy):
    rows = manifests.read(ShardRow)
    manifests.write(ShardRow, rows[1:])
    with pytest.raises(WorkError, match=f"{rows[0].clip_id} is in no shard"):
        dataset_copy.run("verify")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("valid_frames", 7, "valid_frames in shards.parquet differs from clips.parquet"),
        ("class_name", "other", "class_name in shards.parquet differs from clips.parquet"),
        ("clip_id", "own-unknown", "own-unknown: clip_id in shards.parquet differs from clips.parquet"),
    ],
)
def test_row_that_contradicts_the_composite_is_named(dataset_copy, column, value, message):
    rows = manifests.read(ShardRow)
    manifests.write(ShardRow, [dataclasses.replace(rows[0], **{column: value}), *rows[1:]])
    with pytest.raises(WorkError, match=message):
        dataset_copy.run("verify")


def test_manifest_that_verify_does_not_need_is_checked_too(dataset_copy):
    path = dataset_copy.root / "manifests/resample.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WorkError, match=r"manifests/resample\.parquet has changed since it was written"):
        dataset_copy.run("verify")


@pytest.mark.parametrize("name", ["README.md", "shards.parquet", "croissant.json", "ro-crate-metadata.json"])
def test_changed_or_missing_document_is_found(dataset_copy, name):
    path = dataset_copy.root / "data/shards" / name
    path.write_bytes(path.read_bytes().replace(b"a", b"b", 1))
    with pytest.raises(WorkError, match=rf"data/shards/{name} is not the one of these shards"):
        dataset_copy.run("verify")
    path.unlink()
    with pytest.raises(WorkError, match=rf"data/shards/{name}: No such file"):
        dataset_copy.run("verify")


# Size and number of frames


def test_filmstrips_of_another_shape_than_the_params_are_found(project):
    project.set(resize__size=112, resample__frames=64)
    for name in ("a", "b"):
        write_video(project.root / f"clips/{name}/x.mp4", frame_times(ord(name) - 60, 10))
    project.run(*STAGES)
    assert metrics(project)["clips"] == 2
    project.set(resize__size=64)
    with pytest.raises(WorkError, match="an image of 112x7168 is not a filmstrip of 64x64 frames"):
        project.run("verify")
    project.set(resize__size=112, resample__frames=100)
    with pytest.raises(WorkError, match=r"64 frames instead of 100, resample.frames"):
        project.run("verify")


# Counts


def test_metrics_count_clips_classes_and_bytes(dataset):
    counts = metrics(dataset)
    assert (counts["clips"], counts["classes"], counts["problems"], counts["shards"]) == (12, 3, 0, 3)
    assert (counts["train"], counts["test"]) == ({"classes": 2, "clips": 8}, {"classes": 1, "clips": 4})
    assert "val" not in counts
    assert counts["clips_per_class"] == {"min": 4, "median": 4, "max": 4}
    assert (counts["frozen_clips"], counts["black_clips"]) == (0, 0)
    assert counts["bytes"] == sum(path.stat().st_size for path in (dataset.root / "data/shards").glob("*.tar"))


def test_metrics_count_failed_clips_by_reason(project):
    for name in ("a", "b"):
        write_video(project.root / f"clips/{name}/x.mp4", frame_times(ord(name) - 60, 10))
    write_video(project.root / "clips/a/short.mp4", frame_times(5, 10))
    project.run(*STAGES)
    assert metrics(project)["failed"] == {"too_short": 1}


def test_metrics_count_black_and_frozen_clips(here):
    project = make_project(here)
    black, grey = np.zeros((96, 128, 3), np.uint8), np.full((96, 128, 3), 120, np.uint8)
    write_video(here / "clips/a/black.mp4", frame_times(20, 10), pictures=[black] * 20)
    write_video(here / "clips/b/still.mp4", frame_times(20, 10), pictures=[grey] * 20)
    write_video(here / "clips/c/moving.mp4", frame_times(20, 10))
    project.run(*STAGES)
    assert (metrics(project)["black_clips"], metrics(project)["frozen_clips"]) == (1, 2)


def test_near_duplicates_in_different_splits_are_counted_and_named(dataset_copy, capsys):
    splits = {row.clip_id: row.split for row in manifests.read(ShardRow)}
    ids = sorted(splits)
    first = next(clip_id for clip_id in ids if splits[clip_id] == "train")
    other = next(clip_id for clip_id in ids if splits[clip_id] == "test")
    same_split = next(clip_id for clip_id in ids if splits[clip_id] == "train" and clip_id != first)
    like = {other: first, same_split: first}
    rows = [dataclasses.replace(row, duplicate_of=like.get(row.clip_id)) for row in manifests.read(CompositeRow)]
    manifests.write(CompositeRow, rows)
    dataset_copy.run("verify")
    assert metrics(dataset_copy)["near_duplicates_across_split"] == 1
    assert f"1 clips look almost the same as one in another split: {first} and {other}\n" in capsys.readouterr().out
