"""The datasets' own annotation lists, where SHARED_DATA has them."""

import csv
import gzip
import io
import json
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter

import pytest

from pipeline.composite import labels
from pipeline.fetch.hosts import Hosts
from pipeline.sources import minikinetics200
from pipeline.sources.kinetics400 import SPEC, Subset
from pipeline.sources.kinetics400.annotations import parse_list, read_clips, read_lists
from pipeline.sources.kinetics400.subsets import KINETICS100, join, read_subset
from pipeline.sources.tinyvirat import read_tubes
from tests.conftest import REPO, SHARED_DATA
from tests.pipeline.mirror import HEADER, write_file

LISTS = SHARED_DATA / "annotations"
pytestmark = pytest.mark.skipif(not LISTS.is_dir(), reason="no real annotation lists below SHARED_DATA/annotations")


def read_list(name):
    data = (LISTS / name).read_bytes()
    return (gzip.decompress(data) if name.endswith(".gz") else data).decode()


@pytest.mark.parametrize(
    ("name", "split", "rows", "labels"),
    [
        ("kinetics-400/kinetics-400_val.csv", "val", 19_906, 400),
        ("kinetics-400/kinetics-400_test.csv.gz", "test", 38_685, 0),
        ("kinetics-400-labelled/validate.csv.gz", "val", None, 400),
        ("kinetics-400-labelled/test.csv.gz", "test", None, 400),
        ("mini-kinetics-200/train_k200.csv.gz", "train", 80_000, 200),
    ],
)
def test_every_row_of_every_published_form_is_a_clip(name, split, rows, labels):
    text = read_list(name)
    clips = parse_list(text, split, "kinetics400")
    plain = list(csv.DictReader(io.StringIO(text)))
    assert len(clips) == len(plain) == (rows or len(plain))
    assert len({label for clip in clips for label in clip.labels}) == labels
    for clip, row in zip(clips, plain, strict=True):
        assert clip.video_id == row["youtube_id"]
        assert (clip.start_s, clip.end_s) == (float(row["time_start"]), float(row["time_end"]))
        assert clip.labels == ((row["label"],) if row.get("label") else ())


def mirror_lists(root, train, val):
    """A mirror with these two lists and MiniKinetics-200's own; its lists of archives are there, the archives are not."""
    for split, text, parts in (("train", train, 242), ("val", val, 20)):
        write_file(root / f"kinetics/400/annotations/{split}.csv", text.encode())
        host = f"https://s3.amazonaws.com/kinetics/400/{split}"
        urls = "".join(f"{host}/part_{number}.tar.gz\n" for number in range(parts))
        write_file(root / f"kinetics/400/{split}/k400_{split}_path.txt", urls.encode())
        ids = (LISTS / f"mini-kinetics-200/{split}_ytid_list.txt").read_bytes()
        write_file(root / f"mini-kinetics-200/{split}_ytid_list.txt", ids)


def test_minikinetics_clips_equal_the_published_join_with_kinetics(tmp_path):
    train, val = read_list("mini-kinetics-200/train_k200.csv.gz"), read_list("kinetics-400/kinetics-400_val.csv")
    mirror_lists(tmp_path, train, val)
    sites = (*SPEC.sites(None), *minikinetics200.SPEC.sites(None))
    hosts = Hosts(sites, str(tmp_path))
    subset = Subset(minikinetics200.read_ids(hosts), exclusive=True)
    clips = read_clips(hosts, ("train", "val"), "k", subset)
    assert not clips.others
    published = []
    for split, text in (("train", train), ("val", read_list("mini-kinetics-200/val_k200.csv"))):
        published += [
            (row["label"], row["youtube_id"], float(row["time_start"]), float(row["time_end"]), split)
            for row in csv.DictReader(io.StringIO(text))
        ]
    ours = [(c.labels[0], c.video_id, c.start_s, c.end_s, c.official_split) for c in clips.usable.values()]
    assert sorted(ours) == sorted(published)
    for split, each in (("train", 400), ("val", 25)):
        assert Counter(Counter(row[0] for row in ours if row[4] == split).values()) == {each: 200}


def test_kinetics100_has_a_hundred_clips_of_ten_seconds_of_each_of_its_classes():
    clips = read_subset(Hosts(), str(LISTS / "few-shot-kinetics-100"), KINETICS100, "k").values()
    lines = [
        (split, line)
        for split in ("train", "val", "test")
        for line in (LISTS / f"few-shot-kinetics-100/{split}.list").read_text().splitlines()
    ]
    assert len(clips) == len({clip.video_id for clip in clips}) == len(lines) == 10_000
    for clip, (split, line) in zip(clips, lines, strict=True):
        assert line == f"{clip.labels[0]}/{clip.video_id}_{clip.start_s:06.0f}_{clip.end_s:06.0f}"
        assert clip.official_split == split
        assert clip.end_s - clip.start_s == 10
    assert set(Counter(clip.labels[0] for clip in clips).values()) == {100}
    classes = {(clip.official_split, clip.labels[0]) for clip in clips}
    assert Counter(split for split, _ in classes) == {"train": 64, "val": 12, "test": 24}
    aliases = labels.read_aliases()
    keys = {labels.key(name) for name in (LISTS / "kinetics-400/label_map.txt").read_text().splitlines()}
    assert all(labels.key(aliases.get(labels.key(name), name)) in keys for _, name in classes)


def test_kinetics100_agrees_with_the_labels_of_kinetics(tmp_path):
    """The train list is that of MiniKinetics-200, which has 4,404 of the clips; the whole list has those of the others."""
    train, val = read_list("mini-kinetics-200/train_k200.csv.gz"), read_list("kinetics-400/kinetics-400_val.csv")
    mirror_lists(tmp_path, train, val)
    for split in KINETICS100:
        write_file(
            tmp_path / f"kinetics-100/{split}.list", (LISTS / f"few-shot-kinetics-100/{split}.list").read_bytes()
        )
    hosts = Hosts(SPEC.sites(None), str(tmp_path))
    listed = read_subset(hosts, None, KINETICS100, "k")
    clips = join(listed, read_lists(hosts, ("train", "val"), "k"), "k")
    assert not clips.others
    assert Counter(clip.official_split for clip in clips.usable.values()) == {"train": 4_404, "val": 605, None: 4_991}
    assert all(clip.labels == listed[clip_id].labels for clip_id, clip in clips.usable.items())


def test_dry_run_of_the_full_lists_takes_less_than_a_gigabyte(project):
    """246,534 and 19,906 rows; the train list is that of MiniKinetics-200, filled up with random rows."""
    real = read_list("mini-kinetics-200/train_k200.csv.gz").split("\n", 1)[1]
    labels = (LISTS / "kinetics-400/label_map.txt").read_text().split("\n")[:400]
    rng = random.Random(0)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    rest = "".join(
        f'"{rng.choice(labels)}",{"".join(rng.choices(letters, k=11))},{number % 600},{number % 600 + 10},train,0\n'
        for number in range(246_534 - 80_000)
    )
    mirror_lists(project.root / "mirror", HEADER + real + rest, read_list("kinetics-400/kinetics-400_val.csv"))
    project.set(corpus="mirror", download__kinetics_clips=12098, download__reserve_per_class=3)
    project.set(sources={"kinetics400": {"kind": "kinetics400"}, "minikinetics200": {"kind": "minikinetics200"}})
    # Not getrusage: a child's peak includes the memory of its parent at the fork.
    program = "from pipeline import download; download.main(dry_run=True); print(open('/proc/self/status').read())"
    command, environment = [sys.executable, "-c", program], {"PYTHONPATH": str(REPO)}
    done = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "266,440 clips annotated" in done.stdout
    assert (
        "12,098 clips wanted of 400 classes (302 classes of 30, 98 classes of 31), and 1,200 in reserve" in done.stdout
    )
    assert int(re.search(r"VmHWM:\s*(\d+) kB", done.stdout)[1]) < 1 << 20


def test_every_tube_of_tinyvirat_2_has_its_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, inside in (("tiny_val_v2.excerpt", "tiny_val_v2"), ("tiny_test_v2_public.excerpt",) * 2):
            text = (LISTS / f"tinyvirat/{name}.json").read_text()
            archive.writestr(f"TinyVIRAT_V2/{inside.removesuffix('.excerpt')}.json", text)
            for entry in json.loads(text):
                archive.writestr(f"TinyVIRAT_V2/videos/{inside.split('_')[1]}/{entry['path']}", b"")
    names = (LISTS / "tinyvirat/class_map.json").read_text()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        tubes = read_tubes(archive, "tinyvirat")
        assert all(tube.member in archive.namelist() for tube in tubes)
    assert Counter(tube.clip.official_split for tube in tubes) == {"val": 16, "test": 5}
    assert all(label in names for tube in tubes for label in tube.clip.labels)
    assert {bool(tube.clip.labels) for tube in tubes if tube.clip.official_split == "val"} == {True}
