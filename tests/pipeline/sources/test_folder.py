"""The source `folder`: files of every kind in place, each with its outcome."""

import csv
import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from common.errors import WorkError
from pipeline.records.failures import TRANSIENT, Failure
from pipeline.sources import folder
from pipeline.sources.clips import make_id
from tests.conftest import make_project
from tests.pipeline.conftest import STAGES
from tests.pipeline.draw import frame_times, read_counters, read_filmstrip, run_ffmpeg, write_audio, write_video
from tests.pipeline.mirror import write_file

LABEL = "odd names, \"quoted\" & 'more'"


def row_of(rows, part_of_name):
    """The one row whose file name contains `part_of_name`."""
    found = [row for row in rows.values() if part_of_name in row["video_id"]]
    assert len(found) == 1, f"{part_of_name}: {[row['video_id'] for row in rows.values()]}"
    return found[0]


@pytest.fixture(scope="module")
def processed(tmp_path_factory, videos):
    """A folder with every kind of odd name and bad file, taken through all stages."""
    root = tmp_path_factory.mktemp("folder")
    project = make_project(root)
    clips = root / "clips"
    names = ["quo\"te's.mp4", "spa ce.mp4", "[brackets]{a,b}*.mp4", "ünï-日本.mp4", "-leading.mp4", "new\nline.mp4"]
    for name, data in zip(names, videos, strict=False):
        write_file(clips / LABEL / name, data)
    write_file(clips / "twins/a b.mp4", videos[6])
    write_file(clips / "twins/a_b.mp4", videos[7])
    write_file(clips / "twins/a b.mkv.mp4", videos[8])
    write_file(clips / "deep/one/two/clip.mp4", videos[9])
    write_file(clips / "broken/empty.mp4", b"")
    write_file(clips / "broken/truncated.mp4", videos[10][: len(videos[10]) // 2])
    write_file(clips / "broken/text.mp4", b"this is no video\n" * 500)
    write_file(clips / "broken/page.mp4", b"<!DOCTYPE html><html><body>404</body></html>")
    write_file(clips / "broken/strange", os.urandom(5000))
    write_audio(clips / "broken/sound.mp4")
    write_file(clips / "mixed/notes.txt", b"no video")
    write_file(clips / "mixed/poster.jpg", b"no video")
    write_file(clips / "mixed/good.json", b"{}")
    write_file(clips / "data only/table.json", b"{}")
    write_file(clips / "LICENSE", b"no video")
    write_file(clips / ".DS_Store", b"no video")
    write_file(clips / "top.mp4", videos[14])
    write_file(clips / "mixed/.hidden.mp4", videos[11])
    write_file(clips / "mixed/good.mp4", videos[11])
    write_file(clips / "mixed/UPPER.MP4", videos[12])
    outside = write_file(root / "elsewhere/secret.mp4", videos[13])
    (clips / "mixed/link.mp4").symlink_to(outside)
    (clips / "mixed/dangling.mp4").symlink_to(root / "nowhere.mp4")
    (clips / "mixed/loop.mp4").symlink_to("loop.mp4")
    (clips / "mixed/folder").symlink_to(clips)
    os.mkfifo(clips / "mixed/pipe.mp4")
    Path(os.fsdecode(os.fsencode(clips) + b"/mixed/caf\xe9.mp4")).write_bytes(videos[15])
    elementary = ["-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", clips / "mixed/elementary.h264"]
    run_ffmpeg("-i", clips / "mixed/good.mp4", *elementary)
    write_video(clips / "mixed/short.mp4", frame_times(5, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        project.run(*STAGES)
    return project


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("empty", Failure.UNREADABLE_CONTAINER),
        ("truncated", Failure.UNREADABLE_CONTAINER),
        ("text", Failure.UNREADABLE_CONTAINER),
        ("page", Failure.UNREADABLE_CONTAINER),
        ("strange", Failure.UNREADABLE_CONTAINER),
        ("sound", Failure.NO_VIDEO_STREAM),
        ("link", Failure.UNSAFE_PATH),
        ("dangling", Failure.UNSAFE_PATH),
        ("loop", Failure.UNSAFE_PATH),
        ("pipe", Failure.UNSAFE_PATH),
        ("mixed/folder", Failure.UNSAFE_PATH),
        ("caf", Failure.UNSAFE_PATH),
        ("top.mp4", Failure.MISSING_LABEL),
    ],
)
def test_bad_file_fails_in_download_and_keeps_its_reason(processed, name, code):
    row = row_of(processed.rows("download"), name)
    assert (row["status"], row["error"]) == ("failed", code.value)
    assert row["error_detail"]
    assert "\n" not in row["error_detail"]
    later = processed.rows("clips")[row["clip_id"]]
    assert (later["status"], later["error"], later["class_id"]) == ("failed", code.value, None)


def test_clip_shorter_than_a_second_is_too_short(processed):
    row = row_of(processed.rows("download"), "short")
    assert row["status"] == "ok"
    assert processed.rows("resample")[row["clip_id"]]["error"] == "too_short"


def test_elementary_stream_without_timestamps_plays_at_its_nominal_rate(processed):
    clip_id = row_of(processed.rows("download"), "elementary")["clip_id"]
    assert processed.rows("clips")[clip_id]["status"] == "ok"
    timed = processed.rows("resample")[clip_id]
    assert (timed["timeline_from"], timed["clock"]) == ("frames", "rate")


@pytest.mark.parametrize(
    "name", ['quo"te', "spa ce", "[brackets]", "日本", "-leading", "new\nline", "UPPER", "two/clip"]
)
def test_healthy_clip_of_any_name_reaches_the_shards(processed, name):
    row = row_of(processed.rows("clips"), name)
    assert (row["status"], row["error"]) == ("ok", None)
    assert read_counters(read_filmstrip(processed.root / row["path"]))[:15] == list(range(15))
    assert row["clip_id"] in processed.rows("shards")


def test_clip_ids_are_plain_and_unique(processed):
    clip_ids = list(processed.rows("download"))
    assert all(re.fullmatch(r"own-[A-Za-z0-9_-]+", clip_id) for clip_id in clip_ids)
    assert len(clip_ids) == len({clip_id.lower() for clip_id in clip_ids})


def test_files_whose_safe_names_are_equal_stay_separate_clips(processed):
    twins = [row for row in processed.rows("shards").values() if row["class_name"] == "twins"]
    assert len(twins) == 3
    assert len({row["sha256"] for row in twins}) == 3


def test_class_name_keeps_its_commas_and_quotes(processed):
    assert {row["class_name"] for row in processed.rows("shards").values()} == {LABEL, "twins", "deep", "mixed"}
    in_tars = set()
    for path in (processed.root / "data/shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            in_tars |= {json.load(tar.extractfile(name))["class_name"] for name in tar.getnames() if ".json" in name}
    assert LABEL in in_tars


def test_folder_without_a_usable_clip_is_no_class(processed):
    assert "broken" not in {row["class_name"] for row in processed.rows("clips").values()}


NOT_VIDEOS = {
    "mixed/notes.txt": ".txt",
    "mixed/poster.jpg": ".jpg",
    "mixed/good.json": ".json",
    "data only/table.json": ".json",
    "mixed/.hidden.mp4": "hidden",
    ".DS_Store": "hidden",
    "LICENSE": "no extension",
}


def test_other_files_are_in_the_download_manifest_alone_and_have_no_label(processed):
    rows = [row for row in processed.rows("download").values() if row["error"] == "not_video"]
    assert {row["video_id"]: row["error_detail"] for row in rows} == {
        name: f"not a video: {kind}" for name, kind in NOT_VIDEOS.items()
    }
    assert all((row["status"], row["labels"]) == ("failed", []) for row in rows)
    for later in ("trim", "resample", "resize", "clips", "shards"):
        assert not processed.rows(later).keys() & {row["clip_id"] for row in rows}
    assert "not_video" not in json.loads((processed.root / "metrics/dataset.json").read_text())["failed"]


def test_every_file_is_in_the_download_manifest_once(processed):
    files = [path for path in (processed.root / "clips").rglob("*") if path.is_symlink() or not path.is_dir()]
    rows = processed.rows("download").values()
    assert len({row["video_id"] for row in rows}) == len(rows) == len(files)


def test_top_level_video_is_told_where_to_go(processed):
    assert row_of(processed.rows("download"), "top.mp4")["error_detail"] == (
        "the file is in no class folder: move it to clips/CLASS/top.mp4"
    )


def test_dry_run_and_run_print_the_same_counts(processed):
    plan, run = processed.call("download", "--dry-run").stdout, processed.call("download").stdout
    kinds = "7 files are not videos: 2 .json, 2 hidden, 1 .jpg, 1 .txt, 1 no extension"
    unlabelled = "1 videos are in no class folder: move them to clips/CLASS/"
    assert f"\n  {kinds}\n  {unlabelled}\n" in plan
    assert f"own: {kinds}\nown: {unlabelled}\n" in run
    clips, lost = (int(re.search(pattern, plan)[1]) for pattern in (r"(\d+) clips in", r"(\d+) more clips"))
    assert f"download: {clips + lost} clips annotated, 0 spare" in run
    assert "(1 missing_label, 6 unsafe_path)" in plan or "(6 unsafe_path, 1 missing_label)" in plan


def test_stats_count_other_files_apart_from_clips(processed):
    steps, losses, others, *_ = processed.call("stats").stdout.split("\n\n")
    rows = processed.rows("download").values()
    clips = sum(row["error"] != "not_video" for row in rows)
    assert steps.splitlines()[1].split()[:3] == ["own", str(clips), str(clips)]
    assert "not_video" not in losses
    assert [line.split(maxsplit=3)[:3] for line in others.splitlines()[1:3]] == [
        ["2", "own", ".json"],
        ["2", "own", "hidden"],
    ]


def test_not_video_is_permanent():
    assert Failure.NOT_VIDEO not in TRANSIENT


def test_files_in_place_are_not_changed(processed, videos):
    assert (processed.root / "clips/mixed/good.mp4").read_bytes() == videos[11]
    assert (processed.root / "clips/twins/a b.mp4").read_bytes() == videos[6]


def test_links_out_of_the_folder_are_followed_if_params_allow(project, videos):
    outside = write_file(project.root / "elsewhere/a.mp4", videos[0])
    (project.root / "clips/one").mkdir(parents=True)
    (project.root / "clips/one/link.mp4").symlink_to(outside)
    project.set(sources__own__follow_links=True).run("download")
    assert [row["status"] for row in project.rows("download").values()] == ["ok"]


# Windows


def test_windows_are_clips_of_one_video(project):
    write_video(project.root / "clips/one/long.mp4", frame_times(100, 10))
    table = [("path", "start_s", "end_s"), ("one/long.mp4", "1", "3"), ("one/long.mp4", "5.5", "8")]
    with (project.root / "clips/windows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    project.set(sources__own__windows="windows.csv").run("download", "trim", "resample", "resize")
    rows = project.rows("resize")
    first, second = (read_filmstrip(rows[clip_id]["path"]) for clip_id in sorted(rows))
    assert read_counters(first)[:20] == list(range(10, 30))
    assert read_counters(second)[:25] == list(range(55, 80))


def test_window_of_a_file_with_a_name_of_255_bytes_is_cut(project):
    name = f"one/{'x' * 100}.{'y' * 154}"
    write_video(project.root / "clips/one/a.mp4", frame_times(40, 10)).rename(project.root / "clips" / name)
    write_file(project.root / "clips/windows.csv", f"path,start_s,end_s\n{name},1,3\n".encode())
    project.set(sources__own__windows="windows.csv").run("download", "trim")
    assert [Path(row["path"]).suffix for row in project.rows("trim").values()] == [".mkv"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("path,start_s,end_s\none/a.mp4,5,3\n", r"windows\.csv, line 2: the window from 5 to 3 s"),
        ("path,start_s,end_s\none/a.mp4,1,inf\n", r"windows\.csv, line 2: the window from 1 to inf s"),
        ("path,start_s,end_s\none/a.mp4,nan,3\n", r"windows\.csv, line 2: the window from nan to 3 s"),
        ("path,start_s,end_s\none/a.mp4,x,3\n", r"windows\.csv, line 2: start_s and end_s are 'x' and '3': must be"),
        ("path,start_s,end_s\none/a.mp4\n", r"windows\.csv, line 2: start_s and end_s are None and None: must be"),
        ("path,start_s,end_s\none/a.mp4,1,1e300\n", r"windows\.csv, line 2: the window from 1 to 1e300 s"),
        ("path,start_s,end_s\n,1,2\n", r"windows\.csv, line 2: path is empty"),
        ("path,start\none/a.mp4,1\n", r"windows\.csv lacks the columns start_s, end_s"),
        ("", r"windows\.csv lacks the columns path, start_s, end_s"),
    ],
)
def test_invalid_list_of_windows_is_an_error(project, videos, text, error):
    write_file(project.root / "clips/one/a.mp4", videos[0])
    write_file(project.root / "clips/windows.csv", text.encode())
    project.set(sources__own__windows="windows.csv")
    with pytest.raises(WorkError, match=error):
        project.run("download")


def test_missing_list_of_windows_is_an_error(project, videos):
    write_file(project.root / "clips/one/a.mp4", videos[0])
    with pytest.raises(WorkError, match=r"sources\.own\.windows: clips/windows\.csv does not exist"):
        project.set(sources__own__windows="windows.csv").run("download")


def test_listed_window_of_a_missing_file_is_lost_with_its_reason(project, videos):
    write_file(project.root / "clips/one/a.mp4", videos[0])
    table = "path,start_s,end_s\none/a.mp4,0,1\none/b.mp4,0,1\none/b.mp4,1,2\n../c.mp4,0,1\n"
    write_file(project.root / "clips/windows.csv", table.encode())
    project.set(sources__own__windows="windows.csv").run("download")
    rows = list(project.rows("download").values())
    assert sorted((row["video_id"], row["error"]) for row in rows) == [
        ("../c.mp4", "not_found"),
        ("one/a.mp4", None),
        ("one/b.mp4", "not_found"),
        ("one/b.mp4", "not_found"),
    ]
    assert "windows.csv lists one/b.mp4, which does not exist" in {row["error_detail"] for row in rows}


def test_listed_file_is_a_video_by_any_extension(project, videos):
    write_file(project.root / "clips/one/a.blob", videos[0])
    write_file(project.root / "clips/windows.csv", b"path,start_s,end_s\none/a.blob,0,1\n")
    project.set(sources__own__windows="windows.csv").run("download")
    assert [row["status"] for row in project.rows("download").values()] == ["ok"]


# Folders without clips, and files that change


def test_folder_without_class_folders_is_an_error_that_counts_its_files(project, videos):
    write_file(project.root / "clips/a.mp4", videos[0])
    write_file(project.root / "clips/a.txt", b"")
    expected = (
        r"no videos below clips: expected clips/CLASS/CLIP\.EXT; 1 files are not videos: 1 \.txt; "
        r"1 videos are in no class folder: move them to clips/CLASS/$"
    )
    with pytest.raises(WorkError, match=expected):
        project.run("download")


def test_sidecars_do_not_change_the_rows_of_clips(project, videos):
    for name in "abc":
        write_file(project.root / f"clips/one/{name}.mp4", videos[0])
    project.run("download", "trim")
    before = {name: project.rows(name) for name in ("download", "trim")}
    for number in range(500):
        write_file(project.root / f"clips/one/{number}.json", b"{}")
        write_file(project.root / f"clips/{number}/a.json", b"{}")
    write_file(project.root / "clips/one/a.txt", b"")
    project.run("download", "trim")
    after = project.rows("download")
    assert len(after) == 3 + 1001
    assert {clip_id: after[clip_id] for clip_id in before["download"]} == before["download"]
    assert project.rows("trim") == before["trim"]


def test_file_that_is_deleted_before_its_probe_fails_alone(project, videos, monkeypatch):
    for name in "ab":
        write_file(project.root / f"clips/one/{name}.mp4", videos[0])
    list_files = folder.list_files

    def list_and_delete(root, **options):
        files = list_files(root, **options)
        (root / "one/b.mp4").unlink()
        return files

    monkeypatch.setattr(folder, "list_files", list_and_delete)
    project.run("download")
    rows = project.rows("download")
    assert (rows["own-one-a"]["status"], rows["own-one-b"]["error"]) == ("ok", "not_found")


# Clip ids


def test_ids_of_different_names_differ_even_if_their_safe_forms_are_equal():
    assert make_id("own", "a b") != make_id("own", "a?b")
    assert make_id("own", "x" * 400) != make_id("own", "x" * 401)
    assert len(make_id("own", "x" * 400)) <= 150
