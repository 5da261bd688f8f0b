"""split: classes for training, and classes for the test that training never sees."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import WorkError
from pipeline.params import Split, SplitCounts
from pipeline.records import manifests
from pipeline.records.rows import ClassRow, CompositeRow, SplitRow
from pipeline.split import choose_test_classes, official_splits, read_lists


def class_rows(sizes):
    """Class rows with the given numbers of clips, by source."""
    pairs = [(source, size) for source in sizes for size in sizes[source]]
    return [
        ClassRow(class_id=number, class_name=str(number), source=source, member_labels=(), clips=size)
        for number, (source, size) in enumerate(pairs)
    ]


def named_classes(*names):
    return [
        ClassRow(class_id=n, class_name=name, source="own", member_labels=(), clips=5) for n, name in enumerate(names)
    ]


def choose(rows, seed=0, held_out=0.2, target=None):
    total = sum(row.clips for row in rows)
    wanted = None if target is None else SplitCounts(total - target, target)
    return choose_test_classes(rows, Split(seed=seed, held_out=held_out, target_clips=wanted, expected=None))


def clips_in(rows, class_ids):
    return sum(row.clips for row in rows if row.class_id in class_ids)


# By target or at random


def test_a_fifth_of_518_classes_is_104_spread_over_the_sources():
    rows = class_rows({"kinetics400": [30] * 400, "tinyvirat": [108] * 118})
    test = choose(rows)
    assert len(test) == 104
    assert sum(class_id < 400 for class_id in test) == 80


SIZES = st.lists(st.integers(1, 60), min_size=2, max_size=40)


@given(one=SIZES, other=SIZES, seed=st.integers(0, 99), share=st.floats(0.05, 0.9))
def test_both_splits_have_classes_and_each_source_its_share(one, other, seed, share):
    rows = class_rows({"a": one, "b": other})
    test = choose(rows, seed, share)
    assert test < {row.class_id for row in rows}
    assert test
    for source, sizes in (("a", one), ("b", other)):
        inside = sum(row.class_id in test for row in rows if row.source == source)
        assert abs(inside - len(test) * len(sizes) / len(rows)) < 1


@given(sizes=st.lists(st.integers(1, 3), min_size=6, max_size=12), seed=st.integers(0, 20))
def test_a_target_brings_the_clips_nearer_with_the_same_number_of_classes(sizes, seed):
    rows = class_rows({"own": sizes})
    unconstrained = choose(rows, seed, 0.4)
    target = 2 * len(unconstrained)
    test = choose(rows, seed, 0.4, target)
    assert len(test) == len(unconstrained)
    assert abs(clips_in(rows, test) - target) <= abs(clips_in(rows, unconstrained) - target)


@given(seed=st.integers(0, 500), shift=st.integers(-20, 20))
@settings(max_examples=50, deadline=None)
def test_target_is_met_exactly_where_classes_differ_by_single_clips(seed, shift):
    rows = class_rows({"kinetics400": [30, 31] * 40, "tinyvirat": list(range(10, 60))})
    target = clips_in(rows, choose(rows, seed)) + shift
    assert clips_in(rows, choose(rows, seed, target=target)) == target


def test_nearest_total_is_chosen_where_none_meets_the_target():
    rows = class_rows({"own": [10] * 9 + [13]})
    assert clips_in(rows, choose(rows, held_out=0.3, target=32)) == 33
    assert clips_in(rows, choose(rows, held_out=0.3, target=31)) == 30


def test_equal_seeds_choose_equal_classes_and_other_seeds_others():
    rows = class_rows({"own": [30] * 100})
    assert choose(rows, seed=1) == choose(rows, seed=1)
    assert len({frozenset(choose(rows, seed=seed)) for seed in range(5)}) == 5


# By a given list


def test_csv_file_assigns_splits_by_class_name(tmp_path):
    (tmp_path / "lists.csv").write_text("class_name,split\na  B,train\nc,val\nd,test\n")
    rows = named_classes("A b", "c", "d", "e")
    assert read_lists(tmp_path / "lists.csv", rows) == {0: "train", 1: "val", 2: "test", 3: "unused"}


def test_folder_of_list_files_assigns_splits_by_class_name(tmp_path):
    for split, text in (("train", "A b/clip1\nA b/clip2\n"), ("val", "c\n"), ("test", "d/x_000001\n\n")):
        (tmp_path / f"{split}.list").write_text(text)
    assert read_lists(tmp_path, named_classes("A b", "c", "d", "e")) == {0: "train", 1: "val", 2: "test", 3: "unused"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class_name,split\na,train\na,test\n", "class 'a' is in train and in test"),
        ("class_name,split\na,train\nz,test\n", "the composite has no class 'z'"),
        ("class_name,split\nx,train\ny,val\nz,test\n", "the composite has no class 'x' (and 2 more)"),
        ("class_name,split\na,train\n", "has no test classes"),
        (
            "class_name,split\na,held out\n",
            "line 2: class_name is 'a', split is 'held out': must be a class and one of",
        ),
        ("name\na\n", "line 2: class_name is None, split is None"),
    ],
)
def test_contradictory_or_malformed_list_is_rejected(tmp_path, text, message):
    (tmp_path / "lists.csv").write_text(text)
    with pytest.raises(WorkError) as caught:
        read_lists(tmp_path / "lists.csv", named_classes("a", "b"))
    assert message in str(caught.value)


def test_missing_list_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"split.file: .*none.csv does not exist"):
        read_lists(tmp_path / "none.csv", named_classes("a", "b"))
    with pytest.raises(WorkError, match=r"split.file: .*train.list does not exist"):
        read_lists(tmp_path, named_classes("a", "b"))


# The stage


def write_manifests(classes):
    """classes.parquet, and clips.parquet with one clip per class; the clips are of one video."""
    manifests.write(ClassRow, classes)
    common = {"source": "own", "labels": ("x",), "video_id": "scene", "path": "x", "bytes": 1, "valid_frames": 9}
    clips = [
        CompositeRow(clip_id=f"c{row.class_id}", class_id=row.class_id, class_name=row.class_name, sha256="", **common)
        for row in classes
    ]
    manifests.write(CompositeRow, clips)


def test_given_list_is_written_and_summarised(project, capsys):
    write_manifests(named_classes("a", "b", "c", "d"))
    (project.root / "lists.csv").write_text("class_name,split\na,train\nb,val\nc,test\n")
    project.set(split__by="file", split__file="lists.csv")
    project.run("split")
    assert [row.split for row in manifests.read(SplitRow)] == ["train", "val", "test", "unused"]
    printed = capsys.readouterr().out
    assert (
        "train 1 classes, 5 clips; val 1 classes, 5 clips; test 1 classes, 5 clips; unused 1 classes, 5 clips"
        in printed
    )
    assert "split: 1 source videos have clips of classes in different splits" in printed


def test_missed_target_is_printed(project, capsys):
    write_manifests(named_classes("a", "b", "c"))
    project.set(split__sample__target_clips={"train": 9, "test": 6})
    project.run("split")
    assert "split: target of 6 test clips missed by -1: no choice of classes is nearer" in capsys.readouterr().out


def test_unexpected_numbers_of_classes_stop_with_the_param_that_decides(project):
    write_manifests(named_classes("a", "b", "c"))
    project.set(split__expected={"train": 1, "test": 2})
    with pytest.raises(
        WorkError, match=r"train and test classes are 2 and 1, but split.expected is 1 and 2: split.held_out dec"
    ):
        project.run("split")
    assert not manifests.exists(SplitRow)
    (project.root / "lists.csv").write_text("class_name,split\na,train\nb,train\nc,test\n")
    project.set(split__by="file", split__file="lists.csv")
    with pytest.raises(WorkError, match=r"split.expected is 1 and 2: split.file decides"):
        project.run("split")


def test_one_class_cannot_be_split(project):
    write_manifests(named_classes("a"))
    with pytest.raises(WorkError, match="split needs 2 classes or more"):
        project.run("split")


# As the publishers have it


def clip_rows(*splits):
    """A clip for each (class_id, official split), and a lost clip of the first class in another split."""
    lost = CompositeRow(
        clip_id="lost",
        source="own",
        status="failed",
        error="timeout",
        labels=("a",),
        official_split="val",
        video_id="l",
    )
    return [lost] + [
        CompositeRow(
            clip_id=str(number),
            source="own",
            class_id=class_id,
            class_name="abc"[class_id],
            labels=("a",),
            official_split=split,
            video_id=str(number),
            path="x",
            bytes=1,
            sha256="x",
            valid_frames=20,
        )
        for number, (class_id, split) in enumerate(splits)
    ]


def test_official_splits_are_those_of_the_clips_that_the_composite_has():
    clips = clip_rows((0, "train"), (0, "train"), (1, "val"), (2, "test"))
    assert official_splits(clips, named_classes("a", "b", "c")) == {0: "train", 1: "val", 2: "test"}


@pytest.mark.parametrize(
    ("clips", "error"),
    [
        (((0, "train"), (1, "test"), (2, "test"), (2, "train")), "of 'c' is test and train, must be one of train, val"),
        (
            ((0, "train"), (1, "test"), (2, None)),
            "of 'c' is None, must be one of train, val, test: only few-shot lists",
        ),
        (((0, "test"), (1, "val"), (2, "test")), "split.by: official: the official split has no train classes"),
    ],
)
def test_official_splits_that_do_not_split_the_classes_are_an_error(clips, error):
    with pytest.raises(WorkError, match=error):
        official_splits(clip_rows(*clips), named_classes("a", "b", "c"))
