"""Kinetics-400 from a local mirror: quotas over good and bad archives."""

import os
import tarfile

import pytest

from common.errors import WorkError
from tests.pipeline.draw import frame_times, write_video
from tests.pipeline.mirror import HEADER, clip_member, mirror_kinetics, video_ids, write_file


def statuses(project, manifest="download"):
    """Status and failure code by video id."""
    return {row["video_id"]: (row["status"], row["error"]) for row in project.rows(manifest).values()}


def test_clips_without_one_clear_label_fail_alone(project, videos):
    a, b, c, d = video_ids("abcd")
    rows = [("run", a, 0), ("", b, 0), ("run", c, 0), ("jump", c, 0), ("jump", d, 0), ("jump", d, 0)]
    members = [(clip_member(video), videos[n]) for n, video in enumerate((a, b, c, d))]
    mirror_kinetics(project, rows, [{"members": members}], clips=2).run("download")
    assert statuses(project) == {
        a: ("ok", None),
        b: ("failed", "missing_label"),
        c: ("failed", "conflicting_label"),
        d: ("ok", None),
    }
    assert "jump and as run" in project.rows("download")[f"k400-{c}-000000-000010"]["error_detail"]


def test_hostile_tar_members_write_nothing(project, videos):
    a, b, c = video_ids("abc")
    link, device, hard = tarfile.TarInfo(clip_member(b)), tarfile.TarInfo("null"), tarfile.TarInfo(clip_member(c))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    members = [
        ("../../escaped.mp4", videos[0]),
        (f"../../{clip_member(a)}", videos[0]),
        (str(project.root / "absolute.mp4"), videos[0]),
        ("", link),
        ("", device),
        ("", hard),
        (f"./{clip_member(a)}", videos[1]),
    ]
    mirror_kinetics(project, [("run", video, 0) for video in (a, b, c)], [{"members": members}], clips=3).run(
        "download"
    )
    assert {video: error for video, (_, error) in statuses(project).items()} == {
        a: None,
        b: "not_found",
        c: "not_found",
    }
    raw = sorted(path.relative_to(project.root).as_posix() for path in (project.root / "data/raw").rglob("*.mp4"))
    assert raw == [f"data/raw/kinetics400/k400-{a}-000000-000010.mp4"]
    assert (project.root / raw[0]).read_bytes() == videos[1]
    assert not list(project.root.parent.glob("*escaped*"))
    assert not (project.root / "absolute.mp4").exists()


def test_truncated_archive_keeps_the_clips_before_its_end(project, videos):
    a, b = video_ids("ab")
    members = [(clip_member(a), videos[0]), (clip_member(b), os.urandom(400_000))]
    part = {"members": members, "cut": len(videos[0]) + 50_000}
    mirror_kinetics(project, [("run", a, 0), ("run", b, 0)], [part], clips=2).run("download")
    assert statuses(project) == {a: ("ok", None), b: ("failed", "truncated")}
    assert (project.root / f"data/raw/kinetics400/k400-{a}-000000-000010.mp4").read_bytes() == videos[0]


def test_web_page_instead_of_an_archive_fails_its_own_clips_only(project, videos):
    a, b = video_ids("ab")
    parts = [{"members": []}, {"members": [(clip_member(b), videos[0])]}]
    mirror_kinetics(project, [("run", a, 0), ("run", b, 0)], parts, clips=2)
    write_file(project.root / "mirror/kinetics/400/train/part_0.tar.gz", b"<html>503 slow down</html>")
    project.run("download")
    assert statuses(project) == {a: ("failed", "truncated"), b: ("ok", None)}


def test_later_archive_makes_up_for_a_broken_clip(project, videos):
    a, b, c, d = video_ids("abcd")
    parts = [
        {"members": [(clip_member(a), b""), (clip_member(b), videos[0])]},
        {"members": [(clip_member(c), videos[1]), (clip_member(d), videos[2])]},
    ]
    mirror_kinetics(project, [("run", video, 0) for video in (a, b, c, d)], parts, clips=1, reserve=1)
    project.run("download", "trim", "resample", "resize", "merge")
    found = statuses(project)
    assert found[a] == ("failed", "unreadable_container")
    assert sorted(status for status, _ in found.values()) == ["failed", "ok", "ok", "spare"]
    merged = statuses(project, "clips")
    assert sorted(status for status, _ in merged.values()) == ["failed", "ok", "spare"]
    assert merged[b] == ("ok", None)


def test_oversized_member_fails_alone_in_every_run(project, videos, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_LIMIT", 100_000)
    a, b, c = video_ids("abc")
    members = [(clip_member(a), bytes(200_000)), (clip_member(b), videos[0])]
    parts = [{"members": members}, {"members": [(clip_member(c), videos[1])]}]
    mirror_kinetics(project, [("run", video, 0) for video in (a, b, c)], parts, clips=2)
    for _ in range(2):
        project.run("download")
        assert statuses(project) == {a: ("failed", "too_large"), b: ("ok", None), c: ("ok", None)}


def test_clip_that_lasts_far_longer_than_annotated_has_the_wrong_length(project, videos, tmp_path):
    a, b = video_ids("ab")
    movie = write_video(tmp_path / "movie.mp4", frame_times(260, 10)).read_bytes()
    members = [(clip_member(a), movie), (clip_member(b), videos[0])]
    mirror_kinetics(project, [("run", a, 0), ("run", b, 0)], [{"members": members}], clips=1, reserve=1).run("download")
    assert statuses(project) == {a: ("failed", "wrong_length"), b: ("ok", None)}
    detail = project.rows("download")[f"k400-{a}-000000-000010"]["error_detail"]
    assert detail == "lasts 26 s, annotated 10 s; at most 2 x 10 + 5 s accepted"


def test_list_that_is_not_csv_is_an_error(project):
    mirror_kinetics(project, [], [], clips=1)
    text = HEADER + '"' + "x" * 5_000_000
    write_file(project.root / "mirror/kinetics/400/annotations/train.csv", text.encode())
    with pytest.raises(WorkError, match="is not CSV: field larger than field limit"):
        project.run("download")


def test_missing_mirror_is_an_error(project):
    project.set(corpus="no/such/mirror", sources={"kinetics400": {"kind": "kinetics400"}})
    with pytest.raises(WorkError, match="no/such/mirror"):
        project.run("download")


# MiniKinetics-200


@pytest.fixture
def mini(project, videos):
    """A mirror of four clips of one class, two of them on MiniKinetics-200's lists."""
    a, b, c, d = video_ids("abcd")
    members = [(clip_member(video), videos[n]) for n, video in enumerate((a, b, c, d))]
    mirror_kinetics(project, [("run", video, 0) for video in (a, b, c, d)], [{"members": members}], clips=1)
    for split, text in (("train", f"{c}\n"), ("val", f"{d}\n")):
        write_file(project.root / f"mirror/mini-kinetics-200/{split}_ytid_list.txt", text.encode())
    return project


def test_minikinetics_clips_are_marked_and_taken_first(mini):
    mini.set(sources={"full": {"kind": "kinetics400"}, "subset": {"kind": "minikinetics200"}}).run("download")
    rows = mini.rows("download").values()
    assert {row["video_id"][0] for row in rows if row["in_minikinetics200"]} == {"c", "d"}
    assert {row["video_id"][0] for row in rows if row["status"] == "ok"} == {"c"}
    assert {row["source"] for row in rows} == {"full"}


def test_minikinetics_alone_leaves_other_clips_out(mini):
    mini.set(sources={"subset": {"kind": "minikinetics200"}}).run("download")
    rows = {row["video_id"][0]: row for row in mini.rows("download").values()}
    assert {name: (row["status"], row["source"]) for name, row in rows.items()} == {
        "c": ("ok", "subset"),
        "d": ("spare", "subset"),
    }


def test_minikinetics_list_with_another_line_is_an_error(mini):
    write_file(mini.root / "mirror/mini-kinetics-200/val_ytid_list.txt", b"<html>\n")
    with pytest.raises(WorkError, match=r"val_ytid_list\.txt, line 1: '<html>' is not a YouTube id"):
        mini.set(sources={"subset": {"kind": "minikinetics200"}}).run("download")
