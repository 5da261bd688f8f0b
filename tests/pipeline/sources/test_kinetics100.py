"""A few-shot subset of Kinetics-400 from a local mirror through every stage: exactly the listed clips, or gaps with reasons."""

import hashlib
from collections import Counter

import pytest

from tests.conftest import make_project
from tests.pipeline.conftest import STAGES
from tests.pipeline.draw import frame_times, write_video
from tests.pipeline.mirror import clip_member, mirror_kinetics, video_ids, write_subset

HEAD, HEAD_ON_LIST = "massaging person's head", "massaging persons head"
LISTS = {
    "train": [("run", video) for video in video_ids("abcd")] + [("jump", video) for video in video_ids("efg")],
    "val": [("sit", video) for video in video_ids("hij")],
    "test": [(HEAD_ON_LIST, video) for video in video_ids("klm")],
}
CLASSES = {"run": "abcdxy", "jump": "efz", "sit": "hij", HEAD: "klm"}  # on Kinetics-400's own list
PARTS = "abcxyz", "jzeklmh"
BROKEN, SHORT = "k" * 11, "m" * 11  # e and f have other labels, g is on Kinetics-400's list not, d and i in no archive


def mirror_subset(project, videos):
    """A mirror of 16 clips, of which 13 are listed and seven can be had."""
    rows = [(label, video, 0) for label, letters in CLASSES.items() for video in video_ids(letters)]
    rows = [("sit" if video[0] == "f" else label, video, start) for label, video, start in rows]
    short = write_video(project.root / "short.mp4", frame_times(5, 10)).read_bytes()
    content = {letter * 11: video for letter, video in zip("abcdefghijklmxyz", videos, strict=True)}
    content |= {BROKEN: b"no video", SHORT: short}
    parts = [{"members": [(clip_member(video), content[video]) for video in video_ids(part)]} for part in PARTS]
    mirror_kinetics(project, rows, parts, clips=4)
    write_subset(project.root / "lists", **LISTS)
    entry = {"kind": "kinetics400", "subset": "lists", "lists": "lists"}
    return project.set(sources={"kinetics100": entry}, split__by="official")


@pytest.fixture
def subset(project, videos):
    """The mirror, before any stage."""
    return mirror_subset(project, videos)


@pytest.fixture(scope="module")
def built(tmp_path_factory, videos):
    """The mirror, after every stage; tests read it and change nothing."""
    project = mirror_subset(make_project(tmp_path_factory.mktemp("kinetics100")), videos)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        project.run(*STAGES)
    return project


GAPS = {
    "d": ("run", "train", "not_found", "in none of the train archives"),
    "f": ("jump", "train", "conflicting_label", "listed as jump, annotated as sit"),
    "g": ("jump", "train", "not_found", "on none of the lists of Kinetics-400"),
    "i": ("sit", "val", "not_found", "in none of the train archives"),
    "k": (HEAD, "test", "unreadable_container", None),
    "m": (HEAD, "test", "too_short", None),
}


def test_every_listed_clip_is_in_the_shards_or_a_gap_with_its_reason(built):
    rows = built.rows("download")
    assert sorted(row["video_id"][0] for row in rows.values()) == list("abcdefghijklm")
    assert {row["status"] for row in rows.values()} == {"ok", "failed"}
    gaps = {clip_id[5]: row for clip_id, row in built.rows("gaps").items()}
    assert {row["source"] for row in gaps.values()} == {"kinetics100"}
    assert {letter: (row["class_name"], row["split"], row["reason"]) for letter, row in gaps.items()} == {
        letter: gap[:3] for letter, gap in GAPS.items()
    }
    for letter, (*_, detail) in GAPS.items():
        assert gaps[letter]["detail"]
        assert detail in (None, gaps[letter]["detail"])
    shards = {clip_id[5]: (row["class_name"], row["split"]) for clip_id, row in built.rows("shards").items()}
    assert shards == {
        **dict.fromkeys("abc", ("run", "train")),
        "e": ("jump", "train"),
        **dict.fromkeys("hj", ("sit", "val")),
        "l": (HEAD, "test"),
    }
    files = sorted(path.name for path in (built.root / "data/shards").glob("*.tar"))
    assert files == ["test-000000.tar", "train-000000.tar", "val-000000.tar"]


def test_stats_count_the_clips_by_split_and_digest_them(built):
    done = built.call("stats")
    assert done.returncode == 0, done.stderr
    block = next(block for block in done.stdout.split("\n\n") if block.startswith("listed clips"))
    rows = {line.split()[1]: line.split() for line in block.splitlines()[2:]}
    assert {split: [int(number) for number in row[2:5]] for split, row in rows.items()} == {
        "train": [7, 4, 3],
        "val": [3, 2, 1],
        "test": [3, 1, 2],
        "all": [13, 7, 6],
    }
    downloads = built.rows("download")
    for split, letters in {"train": "abce", "val": "hj", "test": "l", "all": "abcehjl"}.items():
        ids = [f"k400-{video}-000000-000010" for video in video_ids(letters)]
        for lines, digest in zip(
            (ids, [f"{id_} {downloads[id_]['sha256']}" for id_ in ids]), rows[split][5:], strict=True
        ):
            assert digest == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def test_archives_are_read_no_further_than_the_last_clip_that_may_be_there(subset):
    write_subset(subset.root / "lists", train=[("run", "a" * 11)], val=[("sit", "h" * 11)], test=[(HEAD, "k" * 11)])
    host = subset.root / "mirror/kinetics/400/train/k400_train_path.txt"
    host.write_text(host.read_text() + "https://s3.amazonaws.com/kinetics/400/train/part_2.tar.gz\n")  # does not exist
    subset.run("download")
    found = Counter((row["status"], row["error"]) for row in subset.rows("download").values())
    assert found == {("ok", None): 2, ("failed", "unreadable_container"): 1}


def test_dry_run_counts_the_listed_clips(subset):
    done = subset.call("download", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "13 clips annotated, 1 of them without one clear label" in done.stdout
    assert "and 0 in reserve" in done.stdout
    assert "train: about 2 of 2 archives to download" in done.stdout


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("train.list", b"skydiving/aaaaaaaaaaa_000000_000010\n", "class that no list of Kinetics-400 has: 'skydiving'"),
        ("train.list", b"\xff\xfe\n", "not UTF-8 text"),
        ("test.list", b"../../etc/passwd\n", "line 1: '../../etc/passwd' is not CLASS/YOUTUBE_ID_START_END"),
    ],
)
def test_bad_list_is_one_line_and_nothing_is_written(subset, name, content, error):
    (subset.root / "lists" / name).write_bytes(content)
    done = subset.call("download")
    assert done.returncode == 1
    assert error in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert subset.manifest("download") is None
