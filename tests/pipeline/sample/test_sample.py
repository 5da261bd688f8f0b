"""The drawn sample: 518 classes in the hosts' layout, the same bytes everywhere, told by movement, not by a still."""

import csv
import json
import tarfile
import zipfile
from collections import Counter
from fractions import Fraction

import cv2
import numpy as np
import pytest

from pipeline.sample.footage import Footage, pictures
from pipeline.sample.mirror import build_mirror
from pipeline.sample.motions import motions
from pipeline.sample.plan import make_plan
from tests.conftest import make_project


@pytest.fixture(scope="module")
def plan():
    return make_plan(0)


def test_the_plan_has_518_classes(plan):
    labels = {clip.label for clip in plan.kinetics}
    healthy = Counter(frozenset(tube.labels) for tube in plan.tubes if tube.damage is None)
    frequent = [labels for labels, count in healthy.items() if count >= 10]
    assert (len(labels), len(frequent)) == (400, 118)
    assert len(plan.mini_labels) == 200
    assert plan.mini_labels < labels


def test_every_class_has_ten_healthy_clips_and_every_kinetics_class_a_reserve(plan):
    healthy = Counter(clip.label for clip in plan.kinetics if clip.damage is None)
    assert min(healthy.values()) >= 11
    assert healthy.keys() == {clip.label for clip in plan.kinetics}


def test_rarer_label_sets_contain_a_kept_one(plan):
    sets = Counter(frozenset(tube.labels) for tube in plan.tubes)
    kept = [labels for labels, count in sets.items() if count >= 10]
    rare = [labels for labels, count in sets.items() if count < 10]
    assert rare
    assert all(any(group < labels for group in kept) for labels in rare)


def test_ids_are_unique(plan):
    assert len({clip.youtube_id for clip in plan.kinetics}) == len(plan.kinetics)
    ids = [clip.clip_id for clip in (*plan.kinetics, *plan.tubes)]
    assert len(set(ids)) == len(ids)


def test_the_seed_decides_the_plan(plan):
    assert make_plan(0) == plan
    assert make_plan(1).kinetics[0] != plan.kinetics[0]


def test_every_motion_has_a_name_of_its_own():
    assert len({motion.name for motion in motions(518)}) == 518


# A small mirror


def small(root, workers):
    return build_mirror(root, workers=workers, plan=make_plan(0, classes=6, label_sets=4), show_progress=False)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return small(tmp_path_factory.mktemp("mirror") / "mirror", workers=2)


def content(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_one_and_two_workers_draw_the_same_bytes(mirror, tmp_path):
    one, two = content(small(tmp_path / "mirror", workers=1)), content(mirror)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_a_finished_mirror_is_left_alone(mirror):
    before = {path: path.stat().st_mtime_ns for path in mirror.rglob("*")}
    small(mirror, workers=1)
    assert {path: path.stat().st_mtime_ns for path in mirror.rglob("*")} == before


def test_the_mirror_has_the_hosts_layout(mirror):
    k400 = mirror / "kinetics/400"
    with (k400 / "annotations/train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
    urls = (k400 / "train/k400_train_path.txt").read_text().split()
    assert all(url.startswith("https://s3.amazonaws.com/kinetics/400/train/part_") for url in urls)
    annotated = {f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4" for row in rows}
    held = []
    for url in urls:
        with tarfile.open(k400 / "train" / url.rsplit("/", 1)[1]) as tar:
            held += tar.getnames()
    assert len(held) == len(set(held))
    assert len(set(held) - annotated) == len(urls)  # a stranger in each part, as on the host
    assert len(annotated - set(held)) <= 2  # annotated, in no part
    ids = (mirror / "mini-kinetics-200/train_ytid_list.txt").read_text().split()
    assert {len(video_id) for video_id in ids} == {11}
    assert set(ids) <= {row["youtube_id"] for row in rows}
    with zipfile.ZipFile(mirror / "tinyvirat/TinyVIRAT.zip") as archive:
        for split in ("train", "test"):
            tubes = json.loads(archive.read(f"tiny_{split}.json"))["tubes"]
            assert {"id", "path", "dim", "label"} <= set(tubes[0])
            inside = [name for name in archive.namelist() if name.startswith(f"videos/{split}/")]
            assert len(tubes) - 1 <= len(inside) <= len(tubes)


def test_the_mirror_s_broken_members_end_as_it_says_and_the_others_are_healthy(mirror, tmp_path, monkeypatch):
    project = make_project(tmp_path).set(
        corpus=str(mirror),
        engine__workers=2,
        sources={
            "kinetics400": {"kind": "kinetics400"},
            "minikinetics200": {"kind": "minikinetics200"},
            "tinyvirat": {"kind": "tinyvirat"},
        },
        download__kinetics_clips=10_000,  # all of them
        merge__label_sets=4,
    )
    monkeypatch.chdir(tmp_path)
    project.run("download", "trim", "resample", "resize", "merge")
    described = json.loads((mirror / "sample.json").read_text())
    rows = project.rows("clips")
    expected = {broken["clip_id"]: broken["expected"] for broken in described["broken"]}
    assert len(expected) >= 2
    assert {clip_id: rows[clip_id]["error"] or rows[clip_id]["status"] for clip_id in expected} == expected
    assert {row["status"] for clip_id, row in rows.items() if clip_id not in expected} == {"ok"}
    counts = Counter(row["source"] for row in rows.values())
    assert counts["kinetics400"] == sum(described["kinetics400"]["rows"].values())
    assert counts["tinyvirat"] == sum(described["tinyvirat"]["rows"].values())
    assert len({row["class_id"] for row in rows.values()} - {None}) == 10
    marked = {row["class_name"] for row in rows.values() if row["in_minikinetics200"]} - {None}
    assert len(marked) == described["minikinetics200"]["classes"] == 3


# Told by movement

CLASSES, CLIPS, FRAMES, FPS = 24, 8, 80, 8


@pytest.fixture(scope="module")
def drawn():
    """Greyscale clips `(CLASSES, CLIPS, FRAMES, 16, 16)` of motions that are as unlike as can be."""
    clips = np.empty((CLASSES, CLIPS, FRAMES, 16, 16), np.float32)
    for number, motion in enumerate(motions(518)[:CLASSES]):
        for take in range(CLIPS):
            footage = Footage(f"test/{number}/{take}", motion, 64, 64, FRAMES, Fraction(FPS))
            for moment, (_, picture) in enumerate(pictures(footage)):
                grey = picture.mean(axis=2, dtype=np.float32)
                clips[number, take, moment] = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA)
    return clips


def accuracy(features):
    """Share of clips whose nearest class mean, leaving the clip itself out, is their own; `(CLASSES, CLIPS, D)`."""
    features = (features - features.mean((0, 1))) / (features.std((0, 1)) + 1e-6)
    right = 0
    for number in range(CLASSES):
        for take in range(CLIPS):
            means = features.mean(1)
            means[number] = np.delete(features[number], take, axis=0).mean(0)
            right += int(np.square(means - features[number, take]).sum(1).argmin() == number)
    return right / (CLASSES * CLIPS)


def test_a_still_does_not_tell_the_class(drawn):
    by_still = np.mean([accuracy(drawn[:, :, moment].reshape(CLASSES, CLIPS, -1)) for moment in (0, 20, 40, 60)])
    assert by_still < 3 / CLASSES


def test_movement_tells_the_class(drawn):
    change = np.diff(drawn, axis=2)
    spectrum = np.abs(np.fft.rfft(drawn - drawn.mean(2, keepdims=True), axis=2)) ** 2
    size = np.abs(change).mean((2, 3, 4))[..., None]
    where = np.log1p(np.abs(change).mean(2).reshape(CLASSES, CLIPS, 4, 4, 4, 4).mean((3, 5))).reshape(
        CLASSES, CLIPS, -1
    )
    how_often = np.log(spectrum.reshape(CLASSES, CLIPS, -1, 2, 8, 16).sum((4, 5)) + 1).reshape(CLASSES, CLIPS, -1)
    by_movement = accuracy(np.concatenate([how_often, where, np.log(size)], axis=2))
    assert by_movement > 6 / CLASSES
    still = np.mean([accuracy(drawn[:, :, moment].reshape(CLASSES, CLIPS, -1)) for moment in (0, 20, 40, 60)])
    assert by_movement > 3 * still
