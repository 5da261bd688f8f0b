"""merge: every clip of resize.parquet is in clips.parquet, with its class or the reason why it has none."""

import pytest

from common.errors import WorkError
from pipeline.records import manifests
from pipeline.records.rows import ClassRow, CompositeRow, DownloadRow, ResizeRow
from tests.pipeline.draw import frame_times, write_video


def annotated(clip_id, label, **columns):
    return DownloadRow(
        clip_id=clip_id, source="own", video_id=clip_id, labels=(label,), path="x", bytes=1, sha256="x", **columns
    )


def filmstrip(clip_id, sha256=None, **columns):
    return ResizeRow(
        clip_id=clip_id,
        source="own",
        path=f"{clip_id}.jpg",
        bytes=9,
        sha256=sha256 or clip_id,
        valid_frames=20,
        key=f"key of {clip_id}",
        attempts=2,
        **columns,
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
    strips = [
        ResizeRow(clip_id=name, source="tubes", path="x", bytes=1, sha256=name, valid_frames=9) for name in labels
    ]
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
    strip = ResizeRow(clip_id="a", source="tubes", path="x", bytes=1, sha256="a", valid_frames=9)
    manifests.write(ResizeRow, [strip])
    with pytest.raises(
        WorkError, match=r"number of classes is 1 \(tubes 1\).* merge.class_rule and merge.label_sets decide"
    ):
        project.run("merge")
