"""Bad files, bad lists and bad params are ordinary: each has its typed outcome, and the rest goes through."""

import csv
import json
import os
import subprocess
import tarfile
import zipfile

import pytest
import yaml

from common.errors import WorkError
from pipeline.records.failures import Failure
from pipeline.sources.clips import make_id
from pipeline.sources.kinetics400 import read_annotations
from pipeline.sources.quotas import quotas
from pipeline.sources.tinyvirat import read_tubes
from pipeline.video.cut import ffmpeg_binary
from tests.pipeline.draw import frame_times, read_counters, read_filmstrip, write_audio, write_video
from tests.pipeline.mirror import HEADER, ids, kinetics, member, put

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """The bytes of healthy clips of 1.5 seconds, each of other content."""
    folder = tmp_path_factory.mktemp("healthy")
    return [write_video(folder / f"{number}.mp4", frame_times(15 + number, 10)).read_bytes() for number in range(16)]


def only(rows, needle):
    """The one row whose file's name contains `needle`."""
    found = [row for row in rows.values() if needle in (row["video_id"] or "")]
    assert len(found) == 1, f"{needle}: {[row['video_id'] for row in rows.values()]}"
    return found[0]


# A folder of all sorts


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, healthy):
    """A folder source with every kind of bad file, taken through all stages once."""
    from tests.conftest import make_project

    root = tmp_path_factory.mktemp("zoo")
    project = make_project(root)
    clips = root / "clips"
    names = ["quo\"te's.mp4", "spa ce.mp4", "[brackets]{a,b}*.mp4", "ünï-日本.mp4", "-leading.mp4", "new\nline.mp4"]
    for name, data in zip(names, healthy, strict=False):
        put(clips / "odd names, \"quoted\" & 'more'" / name, data)
    put(clips / "twins/a b.mp4", healthy[6])
    put(clips / "twins/a_b.mp4", healthy[7])
    put(clips / "twins/a b.mkv.mp4", healthy[8])
    put(clips / "deep/one/two/clip.mp4", healthy[9])
    put(clips / "broken/empty.mp4", b"")
    put(clips / "broken/truncated.mp4", healthy[10][: len(healthy[10]) // 2])
    put(clips / "broken/text.mp4", b"this is no video\n" * 500)
    put(clips / "broken/page.mp4", b"<!DOCTYPE html><html><body>404</body></html>")
    put(clips / "broken/strange.blob", os.urandom(5000))
    write_audio(clips / "broken/sound.mp4")
    put(clips / "mixed/notes.txt", b"left alone")
    put(clips / "mixed/poster.jpg", b"left alone")
    put(clips / "mixed/.hidden.mp4", healthy[11])
    put(clips / "mixed/good.mp4", healthy[11])
    put(clips / "mixed/UPPER.MP4", healthy[12])
    outside = put(root / "elsewhere/secret.mp4", healthy[13])
    (clips / "mixed/link.mp4").symlink_to(outside)
    (clips / "mixed/dangling.mp4").symlink_to(root / "nowhere.mp4")
    raw = ["-i", clips / "mixed/good.mp4", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *raw, clips / "mixed/elementary.h264"], check=True)
    write_video(clips / "mixed/short.mp4", frame_times(5, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        project.run(*STAGES)
    return project


@pytest.mark.parametrize(
    ("needle", "code"),
    [
        ("empty", Failure.UNREADABLE_CONTAINER),
        ("truncated", Failure.UNREADABLE_CONTAINER),
        ("text", Failure.UNREADABLE_CONTAINER),
        ("page", Failure.UNREADABLE_CONTAINER),
        ("strange", Failure.UNREADABLE_CONTAINER),
        ("sound", Failure.NO_VIDEO_STREAM),
        ("link", Failure.UNSAFE_PATH),
        ("dangling", Failure.UNSAFE_PATH),
    ],
)
def test_a_bad_file_is_lost_on_arrival_with_its_reason(zoo, needle, code):
    row = only(zoo.rows("download"), needle)
    assert (row["status"], row["error"]) == ("failed", code.value)
    assert row["error_detail"]
    assert "\n" not in row["error_detail"]
    later = zoo.rows("clips")[row["clip_id"]]
    assert (later["status"], later["error"], later["class_id"]) == ("failed", code.value, None)


def test_a_clip_under_a_second_is_too_short(zoo):
    row = only(zoo.rows("download"), "short")
    assert row["status"] == "ok"
    assert zoo.rows("resample")[row["clip_id"]]["error"] == "too_short"


def test_an_elementary_stream_has_no_timestamps_and_plays_at_its_nominal_rate(zoo):
    clip_id = only(zoo.rows("download"), "elementary")["clip_id"]
    assert zoo.rows("clips")[clip_id]["status"] == "ok"
    timed = zoo.rows("resample")[clip_id]
    assert (timed["timeline_from"], timed["clock"]) == ("frames", "rate")


@pytest.mark.parametrize(
    "needle", ['quo"te', "spa ce", "[brackets]", "日本", "-leading", "new\nline", "UPPER", "two/clip"]
)
def test_a_healthy_clip_of_any_name_goes_through(zoo, needle):
    row = only(zoo.rows("clips"), needle)
    assert (row["status"], row["error"]) == ("ok", None)
    strip = read_filmstrip(zoo.root / row["path"])
    assert read_counters(strip)[:15] == list(range(15))
    assert row["clip_id"] in zoo.rows("shards")


def test_clip_ids_are_plain_and_unique(zoo):
    import re

    ids = list(zoo.rows("download"))
    assert all(re.fullmatch(r"own-[A-Za-z0-9_-]+", clip_id) for clip_id in ids)
    assert len(ids) == len({clip_id.lower() for clip_id in ids})


def test_names_that_collide_once_made_safe_stay_two_clips(zoo):
    twins = [row for row in zoo.rows("shards").values() if row["class_name"] == "twins"]
    assert len(twins) == 3
    assert len({row["sha256"] for row in twins}) == 3


def test_a_label_keeps_its_commas_and_quotes(zoo):
    label = "odd names, \"quoted\" & 'more'"
    names = {row["class_name"] for row in zoo.rows("shards").values()}
    assert names == {label, "twins", "deep", "mixed"}
    tars = (zoo.root / "data/shards").glob("*.tar")
    described = []
    for path in tars:
        with tarfile.open(path) as tar:
            described += [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
    assert label in {item["class_name"] for item in described}


def test_a_class_without_a_usable_clip_is_no_class(zoo):
    assert "broken" not in {row["class_name"] for row in zoo.rows("clips").values()}
    assert {row["error"] for row in zoo.rows("clips").values() if "broken" in row["video_id"]} == {
        "unreadable_container",
        "no_video_stream",
    }


def test_pictures_texts_and_hidden_files_are_no_clips(zoo):
    seen = {row["video_id"] for row in zoo.rows("download").values()}
    assert not any(name in video for video in seen for name in ("notes", "poster", "hidden"))


def test_sources_are_never_changed(zoo, healthy):
    assert (zoo.root / "clips/mixed/good.mp4").read_bytes() == healthy[11]
    assert (zoo.root / "clips/twins/a b.mp4").read_bytes() == healthy[6]


def test_links_out_of_the_folder_are_followed_when_asked(project, healthy):
    outside = put(project.root / "elsewhere/a.mp4", healthy[0])
    (project.root / "clips/one").mkdir(parents=True)
    (project.root / "clips/one/link.mp4").symlink_to(outside)
    project.set(sources__own__follow_links=True).run("download")
    assert [row["status"] for row in project.rows("download").values()] == ["ok"]


def test_windows_cut_several_clips_from_one_video(project):
    write_video(project.root / "clips/one/long.mp4", frame_times(100, 10))
    table = [("path", "start_s", "end_s"), ("one/long.mp4", "1", "3"), ("one/long.mp4", "5.5", "8")]
    with (project.root / "clips/windows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    project.set(sources__own__windows="windows.csv").run("download", "trim", "resample", "resize")
    rows = project.rows("resize")
    first, second = (read_filmstrip(rows[clip_id]["path"]) for clip_id in sorted(rows))
    assert read_counters(first)[:20] == list(range(10, 30))
    assert read_counters(second)[:25] == list(range(55, 80))


@pytest.mark.parametrize("line", ["one/a.mp4,5,3", "one/a.mp4,x,3", "one/a.mp4,1,inf", "one/a.mp4,nan,3", "one/a.mp4"])
def test_a_window_list_that_makes_no_sense_stops_with_one_line(project, healthy, line):
    put(project.root / "clips/one/a.mp4", healthy[0])
    put(project.root / "clips/windows.csv", f"path,start_s,end_s\n{line}\n".encode())
    project.set(sources__own__windows="windows.csv")
    with pytest.raises(WorkError, match=r"windows\.csv"):
        project.run("download")


def test_ids_of_other_names_differ_even_where_their_safe_forms_agree():
    assert make_id("own", "a b") != make_id("own", "a?b")
    assert make_id("own", "x" * 400) != make_id("own", "x" * 401)
    assert len(make_id("own", "x" * 400)) <= 150


# Commands that cannot be done


def one_line(result, code):
    """The single line that a failed command says; and no traceback."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("resample__fpz", 10, ["resample.fpz", "did you mean fps?"]),
        ("resample__fps", "ten", ["resample.fps", "'ten'", "whole number"]),
        ("resample__fps", 0, ["resample.fps", "0", "from 1 to 240"]),
        ("resample__min_frames", 101, ["min_frames", "101", "at most frames, 100"]),
        ("resize__size", 60, ["resize", "60", "multiple of 8"]),
        ("resize__format", "png", ["resize.format", "'png'", "jpg, webp"]),
        ("engine__kind", "cloud", ["engine.kind", "'cloud'", "local"]),
        ("sources__own", {"kind": "youtube"}, ["sources.own.kind", "'youtube'", "folder"]),
        ("sources", {}, ["sources is empty"]),
        ("corpse", "sample", ["corpse", "did you mean corpus?"]),
    ],
)
def test_a_wrong_param_is_refused_by_name_value_and_what_is_allowed(project, key, value, said):
    line = one_line(project.set(**{key: value}).call("download"), 2)
    assert all(word in line for word in said), line
    assert not (project.root / "manifests").exists()


def test_a_filmstrip_taller_than_its_format_is_refused(project):
    project.set(resample__frames=500, resize__format="webp")
    line = one_line(project.call("resize"), 2)
    assert "32000" in line
    assert "16383" in line


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "", "\x00"])
def test_params_that_are_no_mapping_are_refused(project, text):
    (project.root / "params.yaml").write_text(text)
    assert "params.yaml" in one_line(project.call("merge"), 2)


def test_a_missing_root_is_one_line(project):
    assert "clips is no folder" in one_line(project.call("download"), 1)


def test_an_empty_root_is_one_line(project):
    (project.root / "clips/one").mkdir(parents=True)
    assert "no videos below clips" in one_line(project.call("download"), 1)


@pytest.mark.parametrize("stage", ["trim", "merge", "split", "shard", "verify", "stats"])
def test_a_stage_before_its_turn_says_what_to_run(project, stage):
    assert "dvc repro" in one_line(project.call(stage), 1)


def test_a_manifest_that_is_no_parquet_is_one_line(project):
    put(project.root / "manifests/download.parquet", b"garbage")
    assert "manifests/download.parquet cannot be read" in one_line(project.call("trim"), 1)


def test_an_unknown_stage_is_wrong_usage(project):
    result = project.call("transmogrify")
    assert result.returncode == 2
    assert "transmogrify" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_same_source_name_prefix_never_merges_two_clips(project, healthy):
    """`a` with class `b-c` and `a-b`... cannot both exist: source names hold no dash."""
    project.set(sources={"a-b": {"kind": "folder", "root": "clips"}})
    assert "letters, digits and `_`" in one_line(project.call("download"), 2)


# Kinetics lists


def test_the_three_published_forms_of_the_kinetics_list_are_read():
    with_cc = read_annotations(
        HEADER + 'abseiling,0123456789a,7,17,train,0\n"dancing, ""salsa""",-_345678901,0,10,train,0\n', "train", "k"
    )
    assert [(clip.clip_id, clip.labels, clip.start_s) for clip in with_cc] == [
        ("k400-0123456789a-000007-000017", ("abseiling",), 7.0),
        ("k400--_345678901-000000-000010", ('dancing, "salsa"',), 0.0),
    ]
    later = read_annotations("label,youtube_id,time_start,time_end,split\nx,0123456789a,7,17,validate\n", "val", "k")
    assert later[0].official_split == "val"
    test = read_annotations("youtube_id,time_start,time_end,split\n0123456789a,7,17,test\n", "test", "k")
    assert test[0].labels == ()


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE html>\n<html><body>Access denied</body></html>\n",
        "",
        HEADER,
        HEADER + "x,short,1,11,train,0\n",
        HEADER + "x,0123456789a,ten,11,train,0\n",
        HEADER + "x,0123456789a,11,11,train,0\n",
        HEADER + "x,../../etc/pw,1,11,train,0\n",
        HEADER + "x,0123456789a\n",
        HEADER + "x,0123456789a,inf,inf,train,0\n",
        HEADER + "x,0123456789a,nan,11,train,0\n",
        HEADER + "x," + "a" * 200_000 + ",1,11,train,0\n",
        "\x00\x01\x02",
    ],
)
def test_what_is_no_kinetics_list_is_refused_in_one_line(text):
    with pytest.raises(WorkError, match=r"train\.csv of k") as caught:
        read_annotations(text, "train", "k")
    assert "\n" not in str(caught.value)


def test_quotas_spread_evenly_and_sum_up():
    spread = quotas(["a", "b", "c", "a"], 11, seed=0)
    assert sum(spread.values()) == 11
    assert sorted(spread.values()) == [3, 4, 4]
    assert spread == quotas(["c", "b", "a"], 11, seed=0)


# A small Kinetics mirror, by hand


def test_missing_and_conflicting_labels_lose_their_clip_alone(project, healthy):
    a, b, c, d = ids("a", "b", "c", "d")
    rows = [("run", a, 0), ("", b, 0), ("run", c, 0), ("jump", c, 0), ("jump", d, 0), ("jump", d, 0)]
    videos = [(member(video, 0), healthy[n]) for n, video in enumerate((a, b, c, d))]
    kinetics(project, rows, [{"members": videos}], clips=2).run("download")
    found = {row["video_id"]: (row["status"], row["error"]) for row in project.rows("download").values()}
    assert found == {
        a: ("ok", None),
        b: ("failed", "missing_label"),
        c: ("failed", "conflicting_label"),
        d: ("ok", None),
    }
    assert "jump and as run" in project.rows("download")[f"k400-{c}-000000-000010"]["error_detail"]


def test_hostile_tar_members_touch_nothing(project, healthy):
    a, b, c = ids("a", "b", "c")
    link, device, hard = tarfile.TarInfo(member(b, 0)), tarfile.TarInfo("null"), tarfile.TarInfo(member(c, 0))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    members = [
        ("../../escaped.mp4", healthy[0]),
        (f"../../{member(a, 0)}", healthy[0]),
        (str(project.root / "absolute.mp4"), healthy[0]),
        ("", link),
        ("", device),
        ("", hard),
        (f"./{member(a, 0)}", healthy[1]),
    ]
    rows = [("run", a, 0), ("run", b, 0), ("run", c, 0)]
    kinetics(project, rows, [{"members": members}], clips=3).run("download")
    found = {row["video_id"]: row["error"] for row in project.rows("download").values()}
    assert found == {a: None, b: "not_found", c: "not_found"}
    raw = sorted(path.relative_to(project.root).as_posix() for path in (project.root / "data/raw").rglob("*.mp4"))
    assert raw == [f"data/raw/kinetics400/k400-{a}-000000-000010.mp4"]
    assert (project.root / raw[0]).read_bytes() == healthy[1]
    assert not list(project.root.parent.glob("*escaped*"))
    assert not (project.root / "absolute.mp4").exists()


def test_a_truncated_part_keeps_what_came_before_and_types_the_rest(project, healthy):
    a, b = ids("a", "b")
    first, second = (member(a, 0), healthy[0]), (member(b, 0), os.urandom(400_000))
    whole = {"members": [first, second], "cut": len(healthy[0]) + 50_000}
    kinetics(project, [("run", a, 0), ("run", b, 0)], [whole], clips=2).run("download")
    found = {row["video_id"]: (row["status"], row["error"]) for row in project.rows("download").values()}
    assert found[b] == ("failed", "truncated")
    assert (project.root / f"data/raw/kinetics400/k400-{a}-000000-000010.mp4").read_bytes() == healthy[0]
    assert found[a] == ("ok", None)


def test_a_part_that_is_a_web_page_costs_only_its_own_clips(project, healthy):
    a, b = ids("a", "b")
    parts = [{"members": []}, {"members": [(member(b, 0), healthy[0])]}]
    kinetics(project, [("run", a, 0), ("run", b, 0)], parts, clips=2)
    put(project.root / "mirror/kinetics/400/train/part_0.tar.gz", b"<html>503 slow down</html>")
    project.run("download")
    found = {row["video_id"]: (row["status"], row["error"]) for row in project.rows("download").values()}
    assert found == {a: ("failed", "truncated"), b: ("ok", None)}


def test_a_broken_clip_is_replaced_by_the_reserve(project, healthy):
    a, b, c, d = ids("a", "b", "c", "d")
    rows = [("run", video, 0) for video in (a, b, c, d)]
    parts = [
        {"members": [(member(a, 0), b""), (member(b, 0), healthy[0])]},
        {"members": [(member(c, 0), healthy[1]), (member(d, 0), healthy[2])]},
    ]
    kinetics(project, rows, parts, clips=1, reserve=1)
    project.run("download", "trim", "resample", "resize", "merge")
    found = {row["video_id"]: (row["status"], row["error"]) for row in project.rows("download").values()}
    assert found[a] == ("failed", "unreadable_container")
    assert sorted(status for status, _ in found.values()) == ["failed", "ok", "ok", "spare"]
    assert sorted(row["status"] for row in project.rows("clips").values()) == ["failed", "ok", "spare"]
    assert project.rows("clips")[f"k400-{b}-000000-000010"]["status"] == "ok"


def test_a_missing_mirror_is_one_line(project):
    project.set(corpus="no/such/mirror", sources={"kinetics400": {"kind": "kinetics400"}})
    assert "no/such/mirror" in one_line(project.call("download"), 1)


def test_a_member_larger_than_any_clip_costs_its_clip_alone(project, healthy, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_LIMIT", 100_000)
    a, b, c = ids("a", "b", "c")
    members = [(member(a, 0), bytes(200_000)), (member(b, 0), healthy[0])]
    parts = [{"members": members}, {"members": [(member(c, 0), healthy[1])]}]
    kinetics(project, [("run", video, 0) for video in (a, b, c)], parts, clips=2)
    for _ in range(2):  # a rerun takes the same way
        project.run("download")
        found = {row["video_id"]: (row["status"], row["error"]) for row in project.rows("download").values()}
        assert found == {a: ("failed", "unsafe_path"), b: ("ok", None), c: ("ok", None)}


def test_a_file_that_lasts_far_longer_than_annotated_is_not_the_clip(project, healthy, tmp_path):
    a, b = ids("a", "b")
    movie = write_video(tmp_path / "movie.mp4", frame_times(260, 10)).read_bytes()
    parts = [{"members": [(member(a, 0), movie), (member(b, 0), healthy[0])]}]
    kinetics(project, [("run", a, 0), ("run", b, 0)], parts, clips=1, reserve=1)
    project.run("download")
    row = only(project.rows("download"), a)
    assert row["error"] == "checksum_mismatch"
    assert row["error_detail"] == "it lasts 26 s, and 25 s at most were annotated: not the clip"


def test_a_field_of_a_csv_without_end_is_refused(project):
    kinetics(project, [], [], clips=1)
    text = HEADER + '"' + "x" * 5_000_000
    put(project.root / "mirror/kinetics/400/annotations/train.csv", text.encode())
    assert "is not CSV: field larger than field limit" in one_line(project.call("download"), 1)


# TinyVIRAT lists


def virat(path, lists, members=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in lists.items():
            archive.writestr(name, value if isinstance(value, str) else json.dumps(value))
        for name, data in members:
            archive.writestr(name, data)
    return path


TUBE = {"id": "00000", "path": "scene/00000.mp4", "dim": [70, 32, 32], "label": ["Riding"]}


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        "{}",
        '{"tubes": 3}',
        '{"tubes": [3]}',
        '{"tubes": [{"id": "1"}]}',
        {"tubes": [TUBE | {"label": "Riding"}]},
        {"tubes": [TUBE | {"label": [3]}]},
        "null",
        "not json",
        "\x00",
    ],
    ids=range(10),
)
def test_what_is_no_tinyvirat_list_is_refused_in_one_line(here, value):
    path = virat(here / "a.zip", {"tiny_train.json": value})
    with (
        zipfile.ZipFile(path) as archive,
        pytest.raises(WorkError, match=r"tiny_train\.json is no TinyVIRAT list") as caught,
    ):
        read_tubes(archive, "tinyvirat")
    assert "\n" not in str(caught.value)


def test_a_zip_without_lists_is_not_tinyvirat(here):
    with (
        zipfile.ZipFile(virat(here / "a.zip", {"readme.json": {}})) as archive,
        pytest.raises(WorkError, match="not TinyVIRAT"),
    ):
        read_tubes(archive, "tinyvirat")


def test_both_layouts_of_tinyvirat_are_read(here):
    first = virat(here / "v1.zip", {"tiny_train.json": {"tubes": [TUBE]}}, [("videos/train/scene/00000.mp4", b"x")])
    second = virat(
        here / "v2.zip",
        {"TinyVIRAT_V2/tiny_train_v2.json": [TUBE | {"video_id": "VIRAT_1", "path": "train/VIRAT_1/00000.mp4"}]},
        [("TinyVIRAT_V2/videos/train/VIRAT_1/00000.mp4", b"x")],
    )
    for path, scene, name in (
        (first, "scene", "videos/train/scene/00000.mp4"),
        (second, "VIRAT_1", "TinyVIRAT_V2/videos/train/VIRAT_1/00000.mp4"),
    ):
        with zipfile.ZipFile(path) as archive:
            (tube,) = read_tubes(archive, "tinyvirat")
        assert (tube.clip.clip_id, tube.clip.video_id, tube.member) == ("tinyvirat-train-00000", scene, name)
        assert tube.clip.labels == ("Riding",)


def test_tinyvirat_clips_fail_one_by_one(project, healthy):
    entries = [
        TUBE,
        TUBE | {"id": "1", "path": "scene/1.mp4"},
        TUBE | {"id": "2", "path": "../../../escape.mp4"},
        TUBE | {"id": "3", "path": "scene/3.mp4", "label": []},
        TUBE | {"id": "4", "path": "scene/4.mp4", "label": ["Riding", "Misc"]},
    ]
    members = [
        ("videos/train/scene/00000.mp4", healthy[0]),
        ("videos/train/scene/3.mp4", healthy[2]),
        ("videos/train/scene/4.mp4", healthy[3]),
        ("videos/train/../../../escape.mp4", healthy[4]),
    ]
    virat(project.root / "mirror/tinyvirat/TinyVIRAT.zip", {"tiny_train.json": {"tubes": entries}}, members)
    project.set(corpus="mirror", sources={"tinyvirat": {"kind": "tinyvirat"}}).run("download")
    found = {clip_id.split("-")[-1]: row["error"] for clip_id, row in project.rows("download").items()}
    assert found == {"00000": None, "1": "not_found", "2": "unsafe_path", "3": "missing_label", "4": None}
    assert not list(project.root.rglob("escape.mp4"))


def test_a_tinyvirat_archive_that_is_a_web_page_is_one_line(project):
    put(project.root / "mirror/tinyvirat/TinyVIRAT.zip", b"<html>")
    project.set(corpus="mirror", sources={"tinyvirat": {"kind": "tinyvirat"}})
    assert "is no zip file" in one_line(project.call("download"), 1)


def test_the_default_params_name_no_folder_outside_the_project():
    from tests.conftest import REPO

    params = yaml.safe_load((REPO / "params.yaml").read_text())
    assert all("root" not in entry for entry in params["sources"].values())
