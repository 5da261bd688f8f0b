"""merge: every clip of resize.parquet is in clips.parquet, with its class or the reason why it has none."""

import pytest

from common.errors import ParamError, WorkError
from pipeline.records import manifests
from pipeline.records.rows import ClassRow, CompositeRow, DownloadRow, GapRow, ResizeRow
from tests.pipeline.draw import frame_times, write_video


def annotated(clip_id, label, **columns):
    values = {"source": "own"} | columns
    return DownloadRow(clip_id=clip_id, video_id=clip_id, labels=(label,), path="x", bytes=1, sha256="x", **values)


MEASURED = {"motion": 0.1, "sharpness": 0.2, "brightness": 0.5}


def filmstrip(clip_id, sha256=None, **columns):
    values = {"source": "own", "key": f"key of {clip_id}", "attempts": 2} | MEASURED | columns
    return ResizeRow(
        clip_id=clip_id, path=f"{clip_id}.jpg", bytes=9, sha256=sha256 or clip_id, valid_frames=20, **values
    )


@pytest.fixture
def merged(project):
    """clips.parquet, by clip_id, of six clips: two kept, one spare, one duplicate, and two that failed before."""
    failed = {"status": "failed", "error": "decode_error", "error_detail": "a frame is damaged"}
    annotations = [annotated(f"run{rank}", "run", rank=rank, quota=2) for rank in range(4)]
    annotations += [annotated("jump0", "jump", rank=4, quota=2), annotated("lost0", "lost", rank=5)]
    manifests.write(DownloadRow, annotations)
    filmstrips = [filmstrip("run0"), filmstrip("run1"), filmstrip("run2", sha256="run1"), filmstrip("run3")]
    filmstrips += [filmstrip("jump0", **failed), filmstrip("lost0", **failed)]
    manifests.write(ResizeRow, filmstrips)
    project.run("merge")
    return {row.clip_id: row for row in manifests.read(CompositeRow)}


def test_kept_clips_have_a_class_and_their_filmstrip(merged):
    row = merged["run1"]
    assert (row.status, row.class_id, row.class_name) == ("ok", 0, "run")
    assert (row.path, row.bytes, row.sha256, row.valid_frames) == ("run1.jpg", 9, "run1", 20)
    assert (row.labels, row.video_id, row.tinyvirat_labels) == (("run",), "run1", None)


def test_clip_beyond_the_quota_is_spare_and_has_a_class(merged):
    row = merged["run3"]
    assert (row.status, row.error, row.class_id, row.class_name) == ("spare", None, 0, "run")


def test_duplicate_has_a_reason_no_class_and_its_filmstrip_for_inspection(merged):
    row = merged["run2"]
    assert (row.error, row.error_detail) == ("duplicate", "the same pictures as run1")
    assert (row.class_id, row.class_name, row.path) == (None, None, "run2.jpg")


def test_clip_that_failed_before_keeps_its_reason_attempts_and_key(merged):
    row = merged["jump0"]
    assert (row.status, row.error, row.error_detail) == ("failed", "decode_error", "a frame is damaged")
    assert (row.attempts, row.key, row.class_id, row.labels) == (2, "key of jump0", None, ("jump",))


def test_class_without_a_usable_clip_is_not_a_class(merged):
    rows = manifests.read(ClassRow)
    assert rows == [ClassRow(class_id=0, class_name="run", source="own", member_labels=("run",), clips=2)]


def test_spare_replaces_a_clip_that_broke(project):
    manifests.write(DownloadRow, [annotated(f"run{rank}", "run", rank=rank, quota=2) for rank in range(3)])
    broken = filmstrip("run0", status="failed", error="decode_error", error_detail="")
    manifests.write(ResizeRow, [broken, filmstrip("run1"), filmstrip("run2")])
    project.run("merge")
    assert [row.status for row in manifests.read(CompositeRow)] == ["failed", "ok", "ok"]


def test_labels_of_multi_label_sources_are_kept_beside_the_class(project):
    project.set(sources={"tubes": {"kind": "tinyvirat"}})
    labels = {"a": ("walk", "talk"), "b": ("talk", "walk"), "c": ("talk",)}
    common = {"source": "tubes", "video_id": "scene", "path": "x", "bytes": 1, "sha256": "x"}
    manifests.write(DownloadRow, [DownloadRow(clip_id=name, labels=labels[name], **common) for name in labels])
    strips = [filmstrip(name, source="tubes") for name in labels]
    manifests.write(ResizeRow, strips)
    project.run("merge")
    found = {row.clip_id: (row.class_name, row.tinyvirat_labels) for row in manifests.read(CompositeRow)}
    assert found == {
        "a": ("talk + walk", ("walk", "talk")),
        "b": ("talk + walk", ("talk", "walk")),
        "c": ("talk", ("talk",)),
    }


def test_unexpected_number_of_classes_stops_with_counts_and_the_param(project, capsys):
    for name in ("a", "b", "c"):
        write_video(project.root / f"clips/{name}/x.mp4", frame_times(ord(name) - 60, 10))
    project.set(merge__expected_classes=518)
    project.run("download", "trim", "resample", "resize")
    with pytest.raises(WorkError) as caught:
        project.run("merge")
    assert (
        "the number of classes is 3 (own 3), but merge.expected_classes is 518: the labels of the sources decide"
        in str(caught.value)
    )
    assert not manifests.exists(CompositeRow)
    project.set(merge__expected_classes=3)
    project.run("merge")
    assert "merge: 3 classes = 3 own\n" in capsys.readouterr().out


def test_unexpected_number_of_classes_of_a_multi_label_source_names_the_class_rule(project):
    project.set(sources={"tubes": {"kind": "tinyvirat"}}, merge__expected_classes=5)
    row = DownloadRow(clip_id="a", source="tubes", video_id="v", labels=("walk",), path="x", bytes=1, sha256="x")
    manifests.write(DownloadRow, [row])
    manifests.write(ResizeRow, [filmstrip("a", source="tubes")])
    with pytest.raises(
        WorkError, match=r"number of classes is 1 \(tubes 1\).* merge.class_rule and merge.label_sets decide"
    ):
        project.run("merge")


# merge.where


PRINTS = {"run0": "00" * 32, "run1": "00" * 31 + "07"}


@pytest.fixture
def runs(project):
    """Four clips of one class with a quota of two: the second is a near-duplicate of the first, the third does not move."""
    manifests.write(DownloadRow, [annotated(f"run{rank}", "run", rank=rank, quota=2) for rank in range(4)])
    rows = [filmstrip(name, fingerprint=fingerprint) for name, fingerprint in PRINTS.items()]
    manifests.write(ResizeRow, [*rows, filmstrip("run2", motion=0.0), filmstrip("run3")])
    return project


def test_measures_and_near_duplicates_are_columns(runs):
    runs.run("merge")
    rows = manifests.read(CompositeRow)
    assert [(row.motion, row.sharpness, row.brightness) for row in rows] == [
        (0.1, 0.2, 0.5),
        (0.1, 0.2, 0.5),
        (0.0, 0.2, 0.5),
        (0.1, 0.2, 0.5),
    ]
    assert [row.duplicate_of for row in rows] == [None, "run0", None, None]
    assert [row.status for row in rows] == ["ok", "ok", "spare", "spare"]


def test_filtered_clips_say_why_and_spares_replace_them(runs, capsys):
    runs.set(merge__where="motion > 0.02 and duplicate_of is null")
    runs.run("merge")
    rows = {row.clip_id: row for row in manifests.read(CompositeRow)}
    assert {name: row.error or row.status for name, row in rows.items()} == {
        "run0": "ok",
        "run1": "filtered",
        "run2": "filtered",
        "run3": "ok",
    }
    condition = "merge.where is motion > 0.02 and duplicate_of is null"
    assert rows["run1"].error_detail == f"motion is 0.1, duplicate_of is run0: {condition}"
    assert rows["run2"].error_detail == f"motion is 0, duplicate_of is null: {condition}"
    assert (rows["run2"].class_id, rows["run2"].path) == (None, "run2.jpg")
    assert "merge: 2 clips ok, 2 failed (2 filtered)" in capsys.readouterr().out
    assert runs.call("stats").stdout.count(" filtered ") == 1


@pytest.mark.parametrize("stage", ["download", "merge"])
def test_wrong_condition_stops_before_any_work(runs, stage):
    before = manifests.path_of(DownloadRow).read_bytes()
    runs.set(merge__where="moton > 0.02")
    with pytest.raises(
        ParamError, match=r"merge.where is 'moton > 0.02': there is no column 'moton': did you mean moti"
    ):
        runs.run(stage)
    assert not manifests.exists(CompositeRow)
    assert manifests.path_of(DownloadRow).read_bytes() == before


def test_filtered_clips_of_listed_sources_are_gaps(project):
    project.set(sources={"k": {"kind": "kinetics400", "subset": "kinetics100"}}, merge__where="motion > 0.5")
    manifests.write(DownloadRow, [annotated("a", "run", official_split="test", source="k")])
    manifests.write(ResizeRow, [filmstrip("a", source="k")])
    project.run("merge")
    (gap,) = manifests.read(GapRow)
    assert (gap.reason, gap.detail) == ("filtered", "motion is 0.1: merge.where is motion > 0.5")


def test_too_few_classes_name_the_condition(runs):
    runs.set(merge__where="motion > 0.9", merge__expected_classes=1)
    with pytest.raises(
        WorkError, match=r"is 0 \(\), .* the labels of the sources decide, of the clips that merge.where ke"
    ):
        runs.run("merge")
