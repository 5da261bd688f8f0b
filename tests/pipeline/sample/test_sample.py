"""The embedded sample: 518 classes in the hosts' layout, the same bytes everywhere, distinguished by movement only."""

import csv
import json
import tarfile
import zipfile
from collections import Counter
from fractions import Fraction

import cv2
import numpy as np
import pytest

from pipeline.sample.mirror import FORMAT, build_mirror
from pipeline.sample.motions import motions
from pipeline.sample.plan import make_plan
from pipeline.sample.render import ClipSpec, draw_frames
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


def test_every_rare_label_set_contains_a_frequent_one(plan):
    sets = Counter(frozenset(tube.labels) for tube in plan.tubes)
    frequent = [labels for labels, count in sets.items() if count >= 10]
    rare = [labels for labels, count in sets.items() if count < 10]
    assert rare
    assert all(any(group < labels for group in frequent) for labels in rare)


def test_youtube_ids_and_clip_ids_are_unique(plan):
    assert len({clip.youtube_id for clip in plan.kinetics}) == len(plan.kinetics)
    ids = [clip.clip_id for clip in (*plan.kinetics, *plan.tubes)]
    assert len(set(ids)) == len(ids)


def test_same_seed_gives_the_same_plan_and_another_seed_another(plan):
    assert make_plan(0) == plan
    assert make_plan(1).kinetics[0] != plan.kinetics[0]


def test_motion_names_are_unique():
    assert len({motion.name for motion in motions(518)}) == 518


def build_small_mirror(root, workers):
    return build_mirror(root, workers=workers, plan=make_plan(0, classes=6, label_sets=4), show_progress=False)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    return build_small_mirror(tmp_path_factory.mktemp("mirror") / "mirror", workers=2)


def files_below(root):
    """The content of every file, by relative path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_one_and_two_workers_draw_the_same_bytes(mirror, tmp_path):
    one, two = files_below(build_small_mirror(tmp_path / "mirror", workers=1)), files_below(mirror)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_complete_mirror_is_not_drawn_again(mirror):
    before = {path: path.stat().st_mtime_ns for path in mirror.rglob("*")}
    build_small_mirror(mirror, workers=1)
    assert {path: path.stat().st_mtime_ns for path in mirror.rglob("*")} == before


def test_mirror_of_an_older_format_is_replaced(tmp_path):
    root = tmp_path / "mirror"
    root.mkdir()
    (root / "sample.json").write_text(json.dumps({"format": FORMAT - 1, "seed": 0}))
    (root / "old.tar").write_bytes(b"old")
    build_mirror(root, workers=1, plan=make_plan(0, classes=1, label_sets=1), show_progress=False)
    assert not (root / "old.tar").exists()
    assert json.loads((root / "sample.json").read_text())["format"] == FORMAT


def test_mirror_has_the_layout_of_the_hosts(mirror):
    k400 = mirror / "kinetics/400"
    with (k400 / "annotations/train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
    urls = (k400 / "train/k400_train_path.txt").read_text().split()
    assert all(url.startswith("https://s3.amazonaws.com/kinetics/400/train/part_") for url in urls)
    annotated = {f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4" for row in rows}
    members = []
    for url in urls:
        with tarfile.open(k400 / "train" / url.rsplit("/", 1)[1]) as tar:
            members += tar.getnames()
    assert len(members) == len(set(members))
    assert len(set(members) - annotated) == len(urls)  # one unlisted clip in each archive
    assert len(annotated - set(members)) <= 2  # annotated, in no archive
    ids = (mirror / "mini-kinetics-200/train_ytid_list.txt").read_text().split()
    assert {len(video_id) for video_id in ids} == {11}
    assert set(ids) <= {row["youtube_id"] for row in rows}
    with zipfile.ZipFile(mirror / "tinyvirat/TinyVIRAT.zip") as archive:
        for split in ("train", "test"):
            tubes = json.loads(archive.read(f"tiny_{split}.json"))["tubes"]
            assert {"id", "path", "dim", "label"} <= set(tubes[0])
            videos = [name for name in archive.namelist() if name.startswith(f"videos/{split}/")]
            assert len(tubes) - 1 <= len(videos) <= len(tubes)


def test_pipeline_reports_the_documented_failures_and_no_others(mirror, tmp_path, monkeypatch):
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
    description = json.loads((mirror / "sample.json").read_text())
    rows = project.rows("clips")
    expected = {broken["clip_id"]: broken["expected"] for broken in description["broken"]}
    assert len(expected) >= 2
    assert {clip_id: rows[clip_id]["error"] or rows[clip_id]["status"] for clip_id in expected} == expected
    assert {row["status"] for clip_id, row in rows.items() if clip_id not in expected} == {"ok"}
    counts = Counter(row["source"] for row in rows.values())
    assert counts["kinetics400"] == sum(description["kinetics400"]["rows"].values())
    assert counts["tinyvirat"] == sum(description["tinyvirat"]["rows"].values())
    assert len({row["class_id"] for row in rows.values()} - {None}) == 10
    in_mini = {row["class_name"] for row in rows.values() if row["in_minikinetics200"]} - {None}
    assert len(in_mini) == description["minikinetics200"]["classes"] == 3


CLASSES, CLIPS, FRAMES, FPS = 24, 8, 80, 8


@pytest.fixture(scope="module")
def clips():
    """Greyscale clips `(CLASSES, CLIPS, FRAMES, 16, 16)` of the first motions, which are the most unlike."""
    pixels = np.empty((CLASSES, CLIPS, FRAMES, 16, 16), np.float32)
    for number, motion in enumerate(motions(518)[:CLASSES]):
        for clip in range(CLIPS):
            spec = ClipSpec(f"test/{number}/{clip}", motion, 64, 64, FRAMES, Fraction(FPS))
            for index, (_, picture) in enumerate(draw_frames(spec)):
                grey = picture.mean(axis=2, dtype=np.float32)
                pixels[number, clip, index] = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA)
    return pixels


def nearest_mean_accuracy(features):
    """Leave-one-out accuracy of a nearest class mean classifier on features `(CLASSES, CLIPS, D)`."""
    features = (features - features.mean((0, 1))) / (features.std((0, 1)) + 1e-6)
    correct = 0
    for number in range(CLASSES):
        for clip in range(CLIPS):
            means = features.mean(1)
            means[number] = np.delete(features[number], clip, axis=0).mean(0)
            correct += int(np.square(means - features[number, clip]).sum(1).argmin() == number)
    return correct / (CLASSES * CLIPS)


def single_frame_accuracy(clips):
    """Mean accuracy on the pixels of one frame, over four frames."""
    frames = (clips[:, :, index].reshape(CLASSES, CLIPS, -1) for index in (0, 20, 40, 60))
    return np.mean([nearest_mean_accuracy(frame) for frame in frames])


def movement_features(clips):
    """Per clip: spectrum over time by region, mean change by region, and mean change overall."""
    change = np.abs(np.diff(clips, axis=2))
    by_region = change.mean(2).reshape(CLASSES, CLIPS, 4, 4, 4, 4).mean((3, 5)).reshape(CLASSES, CLIPS, -1)
    power = np.abs(np.fft.rfft(clips - clips.mean(2, keepdims=True), axis=2)) ** 2
    spectrum = power.reshape(CLASSES, CLIPS, -1, 2, 8, 16).sum((4, 5)).reshape(CLASSES, CLIPS, -1)
    overall = change.mean((2, 3, 4))[..., None]
    return np.concatenate([np.log(spectrum + 1), np.log1p(by_region), np.log(overall)], axis=2)


def test_single_frame_does_not_identify_the_class(clips):
    assert single_frame_accuracy(clips) < 3 / CLASSES


def test_movement_identifies_the_class(clips):
    accuracy = nearest_mean_accuracy(movement_features(clips))
    assert accuracy > 6 / CLASSES
    assert accuracy > 3 * single_frame_accuracy(clips)
