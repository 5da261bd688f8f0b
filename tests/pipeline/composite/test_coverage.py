"""Listed clips: the missing ones with their reasons, counts and digests of the others."""

import hashlib

from pipeline.composite.coverage import find_gaps, measure
from pipeline.records.rows import CompositeRow, DownloadRow


def downloaded(clip_id, sha256="0" * 64, source="k"):
    return DownloadRow(
        clip_id=clip_id, source=source, video_id=clip_id, labels=("run",), path="x", bytes=1, sha256=sha256
    )


def present(clip_id, split="test", source="k"):
    return CompositeRow(
        clip_id=clip_id,
        source=source,
        class_id=0,
        class_name="run",
        labels=("run",),
        official_split=split,
        video_id=clip_id,
        path="x.jpg",
        bytes=1,
        sha256="filmstrip",
        valid_frames=20,
    )


def missing(clip_id, split="test", source="k", label="run"):
    return CompositeRow(
        clip_id=clip_id,
        source=source,
        status="failed",
        error="not_found",
        error_detail="gone",
        labels=(label,),
        official_split=split,
        video_id=clip_id,
    )


def test_a_gap_has_class_split_and_reason():
    rows = [present("a"), missing("b", label="massaging persons head"), missing("c", source="other")]
    (gap,) = find_gaps(rows, {"k"}, {"massaging persons head": "massaging person's head"})
    assert (gap.clip_id, gap.source, gap.class_name, gap.split) == ("b", "k", "massaging person's head", "test")
    assert (gap.reason, gap.detail) == ("not_found", "gone")


def test_counts_are_by_split_and_of_all():
    rows = [present("a", "train"), missing("b", "train"), present("c", "val"), present("d"), present("e", source="o")]
    found = measure("k", rows, [downloaded(row.clip_id) for row in rows])
    assert [(part.split, part.listed, part.present) for part in found] == [
        ("train", 2, 1),
        ("val", 1, 1),
        ("test", 1, 1),
        ("all", 4, 3),
    ]


def test_digests_are_of_sorted_lines():
    rows = [present("b"), missing("c"), present("a")]
    *_, found = measure("k", rows, [downloaded("a", "1" * 64), downloaded("b", "2" * 64), downloaded("c", "3" * 64)])
    assert found.clips_sha256 == hashlib.sha256(b"a\nb\n").hexdigest()
    assert found.files_sha256 == hashlib.sha256(f"a {'1' * 64}\nb {'2' * 64}\n".encode()).hexdigest()


def test_a_gap_that_is_filled_changes_both_digests_and_other_bytes_of_a_file_change_one():
    def digests(clip, sha256):
        *_, found = measure("k", [present("a"), clip], [downloaded("a"), downloaded("b", sha256)])
        return found.clips_sha256, found.files_sha256

    gap, filled, replaced = digests(missing("b"), "1"), digests(present("b"), "1"), digests(present("b"), "2")
    assert not set(gap) & set(filled)
    assert filled[0] == replaced[0]
    assert filled[1] != replaced[1]
