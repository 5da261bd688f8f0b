"""Shards: the same bytes whatever the number of workers, readable by anyone, and anything wrong in them is found."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

import cv2
import numpy as np
import pytest
import webdataset
import yaml

from common.errors import WorkError
from pipeline.params import Shard
from pipeline.records.manifests import RECIPES
from pipeline.shard import plan
from tests.conftest import make_project
from tests.pipeline.draw import frame_times, read_counters, read_filmstrip, write_video

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")


def build(root, workers):
    project = make_project(root).set(engine__workers=workers, shard__max_clips=4)
    for number in range(12):
        write_video(root / f"clips/class {number % 3}/{number}.mp4", frame_times(20 + number, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        project.run(*STAGES)
    return project


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("one"), workers=1)


@pytest.fixture
def inside(built, monkeypatch):
    """The built project, entered; tests that damage it put it back."""
    monkeypatch.chdir(built.root)
    return built


def test_one_and_two_workers_write_the_same_bytes(built, tmp_path):
    other = build(tmp_path, workers=2)
    files = sorted(path.relative_to(built.root) for path in (built.root / "data/shards").iterdir())
    files += sorted(path.relative_to(built.root) for path in (built.root / "manifests").iterdir())
    assert len(files) == 3 + 1 + 8  # shards, their card, manifests
    for path in files:
        if path.stem == "resize":  # decode_s is measured
            one, two = built.rows("resize"), other.rows("resize")
            assert [row | {"decode_s": 0} for row in one.values()] == [row | {"decode_s": 0} for row in two.values()]
        else:
            assert (built.root / path).read_bytes() == (other.root / path).read_bytes(), path


def test_stock_webdataset_reads_every_sample(built):
    rows, videos = built.rows("shards"), built.rows("clips")
    urls = sorted(str(path) for path in (built.root / "data/shards").glob("*.tar"))
    samples = {sample["__key__"]: sample for sample in webdataset.WebDataset(urls, shardshuffle=False)}
    assert samples.keys() == rows.keys()
    for clip_id, sample in samples.items():
        described = json.loads(sample["json"])
        assert int(sample["cls"]) == rows[clip_id]["class_id"] == described["class_id"]
        assert described["split"] == rows[clip_id]["split"]
        picture = cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (6400, 64, 3)
        number = int(videos[clip_id]["video_id"].removesuffix(".mp4").split("/")[1])
        assert read_counters(picture.reshape(100, 64, 64, 3))[: 20 + number] == list(range(20 + number))


def test_plain_tar_reads_them_and_they_say_nothing_of_when_and_by_whom(built):
    for path in (built.root / "data/shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
                assert member.isreg()


def test_members_of_a_sample_lie_together(built):
    for path in (built.root / "data/shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            names = tar.getnames()
        for first in range(0, len(names), 3):
            stem = names[first].removesuffix(".jpg")
            assert names[first : first + 3] == [f"{stem}.jpg", f"{stem}.json", f"{stem}.cls"]


def test_offsets_alone_find_every_filmstrip(built):
    strips = built.rows("resize")
    for clip_id, row in built.rows("shards").items():
        with (built.root / row["shard"]).open("rb") as file:
            file.seek(row["offset"])
            data = file.read(row["length"])
        assert data == (built.root / strips[clip_id]["path"]).read_bytes()


def test_each_split_has_its_own_shards_and_no_class_is_in_both(built):
    sides = {}
    for row in built.rows("shards").values():
        assert row["shard"].startswith(f"data/shards/{row['split']}-")
        sides.setdefault(row["class_name"], set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "test"} == set().union(*sides.values())


def test_the_seed_shuffles_clips_and_classes_are_mixed(built):
    clips = [row | {"bytes": 10} for row in built.rows("shards").values()]

    def order(seed):
        return [row["clip_id"] for _, members in plan(clips, Shard(seed, 100, 1 << 20)) for row in members]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert sorted(order(0)) == sorted(order(1)) == sorted(row["clip_id"] for row in clips)


def test_a_shard_closes_before_it_grows_too_large():
    clips = [{"clip_id": f"c{n}", "split": "train", "bytes": 400_000} for n in range(10)]
    sizes = [len(members) for _, members in plan(clips, Shard(0, 1000, 1 << 20))]
    assert sizes == [2] * 5
    assert [len(members) for _, members in plan(clips, Shard(0, 4, 1 << 30))] == [4, 4, 2]


def test_a_filmstrip_changed_since_resize_is_not_packed(inside):
    row = next(iter(inside.rows("clips").values()))
    path = inside.root / row["path"]
    data = path.read_bytes()
    try:
        path.write_bytes(data + b"x")
        with pytest.raises(WorkError, match=f"{row['clip_id']} has changed since resize"):
            inside.run("shard")
        path.unlink()
        with pytest.raises(WorkError, match=f"{row['clip_id']} is gone"):
            inside.run("shard")
    finally:
        path.write_bytes(data)


def test_shards_of_an_earlier_run_are_cleared_away(inside):
    stale = inside.root / "data/shards/train-000099.tar"
    stale.write_bytes(b"old")
    inside.run("shard")
    assert not stale.exists()


# verify


def flip(data, rows):
    row = rows[0]
    data[row["offset"] + row["length"] // 2] ^= 0x55
    return data, [row["clip_id"], "other content"]


def truncate(data, rows):
    last = max(rows, key=lambda row: row["offset"])
    return data[: last["offset"] + 100], [last["shard"]]


def empty(data, rows):
    return b"", [rows[0]["shard"]]


def swap_label(data, rows):
    raw, stem = bytes(data), rows[0]["clip_id"]
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        member = tar.getmember(f"{stem}.cls")
    data[member.offset_data] = ord("9")
    return data, [f"{stem}.cls contradicts the manifest"]


@pytest.mark.parametrize("damage", [flip, truncate, empty, swap_label])
def test_verify_finds_damage_and_names_it(inside, damage):
    rows = list(inside.rows("shards").values())
    rows = [row for row in rows if row["shard"] == rows[0]["shard"]]
    path = inside.root / rows[0]["shard"]
    whole = path.read_bytes()
    damaged, said = damage(bytearray(whole), rows)
    try:
        path.write_bytes(damaged)
        with pytest.raises(WorkError) as caught:
            inside.run("verify")
        assert all(word in str(caught.value) for word in said), str(caught.value)
        assert json.loads((inside.root / "metrics/dataset.json").read_text())["problems"] >= 1
    finally:
        path.write_bytes(whole)


def test_verify_finds_a_missing_shard(inside):
    path = inside.root / next(iter(inside.rows("shards").values()))["shard"]
    aside = path.rename(path.with_suffix(".aside"))
    try:
        with pytest.raises(WorkError, match=path.name):
            inside.run("verify")
    finally:
        aside.rename(path)


def test_verify_finds_a_tar_that_no_manifest_knows(inside):
    extra = inside.root / "data/shards/train-000077.tar"
    extra.write_bytes(bytes(10240))
    try:
        with pytest.raises(WorkError, match=r"train-000077\.tar: in no manifest"):
            inside.run("verify")
    finally:
        extra.unlink()


def test_verify_counts_what_is_there(inside):
    inside.run("verify")
    metrics = json.loads((inside.root / "metrics/dataset.json").read_text())
    assert (metrics["clips"], metrics["classes"], metrics["problems"]) == (12, 3, 0)
    assert metrics["train"]["clips"] + metrics["test"]["clips"] == 12
    assert (metrics["train"]["classes"], metrics["test"]["classes"]) == (2, 1)
    assert metrics["clips_per_class"] == {"min": 4, "median": 4, "max": 4}
    assert metrics["frozen_clips"] == metrics["black_clips"] == 0
    assert metrics["bytes"] == sum(path.stat().st_size for path in (inside.root / "data/shards").glob("*.tar"))


def test_verify_counts_black_and_frozen_clips(here):
    project = make_project(here)
    black, grey = np.zeros((96, 128, 3), np.uint8), np.full((96, 128, 3), 120, np.uint8)
    write_video(here / "clips/a/black.mp4", frame_times(20, 10), pictures=[black] * 20)
    write_video(here / "clips/b/still.mp4", frame_times(20, 10), pictures=[grey] * 20)
    write_video(here / "clips/c/moving.mp4", frame_times(20, 10))
    project.run(*STAGES)
    metrics = json.loads((here / "metrics/dataset.json").read_text())
    assert (metrics["black_clips"], metrics["frozen_clips"]) == (1, 2)


# show and stats


def test_show_draws_a_clip_and_a_class(built):
    result = built.call("show", next(iter(built.rows("shards"))), "-o", "sheet.png")
    assert result.returncode == 0, result.stderr
    sheet = cv2.imread(str(built.root / "sheet.png"))
    assert sheet.shape[0] > 10 * 128
    assert sheet.shape[1] > 10 * 128
    result = built.call("show", "--class", "class 1", "-o", "class.jpg")
    assert result.returncode == 0, result.stderr
    assert cv2.imread(str(built.root / "class.jpg")).shape[1] > 10 * 128


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["own-nobody", "-o", "a.png"], 1, "no clip is named 'own-nobody'"),
        (["--class", "nothing", "-o", "a.png"], 1, "no class is named 'nothing'"),
        (["--class", "class 1", "-o", "a.txt"], 2, "ends in .png or .jpg"),
        (["--class", "class 1"], 2, "-o"),
        (["--failures", "nonsense", "-o", "a.png"], 2, "must be one of not_found, "),
        (["--failures", "duplicate", "-o", "a.png"], 1, "no clip was lost as duplicate"),
    ],
)
def test_show_says_what_is_wrong(built, arguments, code, said):
    result = built.call("show", *arguments)
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_show_draws_what_was_lost_as_far_as_it_can_be_seen(project):
    clips = project.root / "clips"
    for number in range(3):
        write_video(clips / f"c{number}/a.mp4", frame_times(20 + number, 10))
    write_video(clips / "c0/short.mp4", frame_times(5, 10))
    (clips / "c1/page.mp4").write_text("<html>")
    (clips / "c1/copy.mp4").write_bytes((clips / "c1/a.mp4").read_bytes())
    project.run(*STAGES)
    for code, dark in (("too_short", True), ("unreadable_container", False), ("duplicate", True)):
        result = project.call("show", "--failures", code, "-o", "lost.png")
        assert result.returncode == 0, result.stderr
        assert "1 of 1 clips" in result.stdout
        picture = cv2.imread(str(project.root / "lost.png"))
        assert (picture.shape[1] > 500) == dark  # frames beside the text, where there are any
        assert (picture[:, :420] < 100).any()


def test_stats_prints_the_funnel_and_the_losses(here):
    project = make_project(here)
    write_video(here / "clips/a/one.mp4", frame_times(20, 10))
    write_video(here / "clips/a/two.mp4", frame_times(21, 10))
    write_video(here / "clips/b/three.mp4", frame_times(22, 10))
    write_video(here / "clips/b/short.mp4", frame_times(3, 10))
    (here / "clips/b/broken.mp4").write_bytes(b"no video")
    project.run("download", "trim", "resample", "resize", "merge", "split", "shard")
    result = project.call("stats")
    assert result.returncode == 0, result.stderr
    header, numbers = result.stdout.splitlines()[:2]
    assert header.split()[:3] == ["annotated", "wanted", "downloaded"]
    assert numbers.split() == ["own", "5", "5", "4", "3", "3", "3"]
    assert "unreadable_container" in result.stdout
    assert "own-b-short: 3 ticks at 10 FPS" in result.stdout


def test_a_reader_that_stops_early_sees_no_traceback(built):
    command = f"{sys.executable} -m pipeline stats | head -c 1"
    import os

    from tests.conftest import REPO

    environment = os.environ | {"PYTHONPATH": str(REPO)}
    result = subprocess.run(command, shell=True, cwd=built.root, env=environment, capture_output=True, text=True)
    assert result.stderr == ""


def test_webp_shards_are_lossless_and_named_so(here):
    project = make_project(here).set(resize__format="webp", resize__quality=100)
    for name in ("a", "b", "c"):
        write_video(here / f"clips/{name}/x.mp4", frame_times(ord(name) - 60, 10))
    project.run(*STAGES)
    row = project.rows("shards")["own-a-x"]
    with tarfile.open(row["shard"]) as tar:
        assert "own-a-x.webp" in tar.getnames()
    assert read_filmstrip(project.rows("resize")["own-a-x"]["path"]).shape == (100, 64, 64, 3)


# Other people's tools


def test_hugging_face_datasets_reads_the_folder_by_its_card(built, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = built.rows("shards")
    for split in ("train", "test"):
        found = datasets.load_dataset(str(built.root / "data/shards"), split=split, cache_dir=str(tmp_path / "cache"))
        assert {sample["__key__"] for sample in found} == {n for n, row in rows.items() if row["split"] == split}
        sample = found[0]
        picture = np.asarray(sample["jpg"].convert("RGB"))
        assert picture.reshape(100, 64, 64, 3).shape == (100, 64, 64, 3)
        assert sample["json"]["class_id"] == int(sample["cls"]) == rows[sample["__key__"]]["class_id"]


def test_the_card_says_what_is_there(built):
    card = (built.root / "data/shards/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert [file["split"] for file in head["configs"][0]["data_files"]] == ["train", "test"]
    assert "12 clips of 3 classes; 100 frames at 10 FPS, 64x64." in card
    for path in (built.root / "data/shards").glob("*.tar"):
        assert f"| {path.name} | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |" in card


def test_shards_are_copied_to_a_url(inside, tmp_path):
    inside.set(shard__copy_to=tmp_path.as_uri() + "/copy")
    try:
        inside.run("shard")
    finally:
        inside.set(shard__copy_to=None)
    for path in (*inside.root.glob("data/shards/*"), inside.root / "manifests/shards.parquet"):
        assert (tmp_path / "copy" / path.relative_to(inside.root)).read_bytes() == path.read_bytes()


def test_the_same_bytes_whatever_python_hashes(built, tmp_path):
    """Sets and dicts of another order must not show."""
    for seed in ("1", "2"):
        root = tmp_path / seed
        shutil.copytree(built.root, root)
        for made in (*root.glob("data/shards/*"), *root.glob("manifests/*s.parquet")):
            if made.stem not in ("resize", "download"):
                made.unlink()
        for stage in ("merge", "split", "shard"):
            process = type(built)(root).popen(stage, env={"PYTHONHASHSEED": seed})
            assert process.wait(120) == 0, process.stderr.read()
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / seed).glob("data/shards/*")} for seed in "12")
    assert one == two
    assert one == {path.name: path.read_bytes() for path in built.root.glob("data/shards/*")}


@pytest.mark.parametrize("question", RECIPES)
def test_recipes_run(built, tmp_path, question):
    language, recipe = RECIPES[question]
    if language == "sql":
        recipe = f"import duckdb\nprint(duckdb.sql({recipe!r}).fetchall() is not None)"
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", recipe], cwd=built.root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
