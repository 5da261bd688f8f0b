"""split: classes for training, and classes for the test that training never sees."""

from dataclasses import replace

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


# Beside classes that keep their split


def choose_rest(rows, kept, held_out=0.2, target=None):
    wanted = None if target is None else SplitCounts(sum(row.clips for row in rows) - target, target)
    settings = Split(seed=0, held_out=held_out, target_clips=wanted, expected=None, freeze=True)
    return choose_test_classes(rows, settings, kept)


@given(sizes=SIZES, more=SIZES, seed=st.integers(0, 99))
def test_new_classes_bring_each_source_to_its_share_and_the_others_stay(sizes, more, seed):
    before = class_rows({"a": sizes})
    test = choose(before, seed)
    kept = {row.class_id: "test" if row.class_id in test else "train" for row in before}
    rows = [*before, *(replace(row, class_id=len(sizes) + row.class_id) for row in class_rows({"a": more}))]
    drawn = choose_rest(rows, kept)
    assert not drawn & kept.keys()
    assert abs(len(test | drawn) - max(1, round(0.2 * len(rows)))) <= max(0, len(test) - round(0.2 * len(rows)))


def test_a_target_counts_the_clips_of_the_classes_that_stay():
    rows = class_rows({"own": [10] * 10 + [3, 4, 5, 6, 7, 8, 9, 11, 12, 13]})
    kept = {number: "test" if number < 2 else "train" for number in range(10)}
    drawn = choose_rest(rows, kept, target=20 + 5 + 12)
    assert len(drawn) == 2
    assert clips_in(rows, drawn) == 17


@pytest.mark.parametrize("target", [None, 5])
def test_no_new_class_is_held_out_where_enough_are(target):
    rows = class_rows({"own": [10] * 10})
    assert choose_rest(rows, dict.fromkeys(range(5), "test"), target=target) == set()
    assert choose_rest(rows, dict.fromkeys(range(10), "train"), target=target) == set()


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
    """classes.parquet, and clips.parquet with one clip per class that has clips; the clips are of one video."""
    manifests.write(ClassRow, classes)
    common = {"source": "own", "labels": ("x",), "video_id": "scene", "path": "x", "bytes": 1, "valid_frames": 9}
    clips = [
        CompositeRow(clip_id=f"c{row.class_id}", class_id=row.class_id, class_name=row.class_name, sha256="", **common)
        for row in classes
        if row.clips
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


# With an earlier split


def splits():
    return {row.class_name: (row.class_id, row.split, row.clips) for row in manifests.read(SplitRow)}


def frozen(project, *classes):
    """Two classes split without freeze, then the stage with `split.freeze` on other classes."""
    write_manifests(named_classes("a", "b"))
    project.run("split")
    before = splits()
    write_manifests(list(classes))
    project.set(split__freeze=True)
    project.run("split")
    return before, splits()


def one_class(class_id, name, source="own", clips=5):
    return ClassRow(class_id=class_id, class_name=name, source=source, member_labels=(), clips=clips)


def test_classes_keep_their_split_and_new_ones_are_assigned(project, capsys):
    new = [one_class(2 + n, name, "more") for n, name in enumerate("cdefgh")]
    before, after = frozen(project, *named_classes("a", "b"), *new)
    assert {name: after[name] for name in "ab"} == before
    assert {after[name][1] for name in "cdefgh"} == {"train", "test"}
    assert "split: 2 classes keep their split, 6 are assigned\n" in capsys.readouterr().out


def test_a_class_is_known_by_its_name_when_its_id_is_another_one(project):
    before, after = frozen(project, one_class(0, "x"), one_class(1, "a"), one_class(2, "b"))
    assert (after["a"][1], after["b"][1]) == (before["a"][1], before["b"][1])


def test_classes_of_one_name_in_two_splits_are_known_by_their_ids(project):
    classes = [one_class(0, "run"), one_class(1, "run", "more")]
    write_manifests(classes)
    project.run("split")
    before = [(row.class_id, row.split) for row in manifests.read(SplitRow)]
    assert {split for _, split in before} == {"train", "test"}
    write_manifests([*classes, one_class(2, "c"), one_class(3, "d")])
    project.set(split__freeze=True)
    project.run("split")
    assert [(row.class_id, row.split) for row in manifests.read(SplitRow)][:2] == before


def test_a_class_without_clips_keeps_its_split_and_counts_for_nothing(project, capsys):
    before, after = frozen(project, one_class(0, "a", clips=0), *named_classes("a", "b", "c", "d")[1:])
    assert after["a"] == (0, before["a"][1], 0)
    printed = capsys.readouterr().out
    assert "1 classes keep their split, 2 are assigned, 1 have no clips now" in printed
    assert "train 2 classes, 10 clips; test 1 classes, 5 clips" in printed


def test_a_new_class_without_clips_is_in_no_split_yet(project):
    _, after = frozen(project, *named_classes("a", "b"), one_class(2, "c", clips=0))
    assert after["c"] == (2, "unused", 0)
    write_manifests(named_classes("a", "b", "c", "d", "e", "f"))
    project.run("split")
    assert splits()["c"][1] in ("train", "test")


def test_a_split_whose_test_classes_have_gone_is_an_error(project):
    write_manifests(named_classes("a", "b", "c"))
    project.run("split")
    write_manifests(
        [row if splits()[row.class_name][1] == "train" else replace(row, clips=0) for row in manifests.read(ClassRow)]
    )
    project.set(split__freeze=True)
    with pytest.raises(WorkError, match=r"split.freeze: the earlier split has no test classes"):
        project.run("split")


def test_without_an_earlier_split_all_classes_are_assigned_and_one_line_says_so(project, capsys):
    write_manifests(named_classes("a", "b", "c"))
    project.run("split")
    usual = splits()
    manifests.path_of(SplitRow).unlink()
    project.set(split__freeze=True)
    capsys.readouterr()
    project.run("split")
    assert splits() == usual
    line = "split: split.freeze has no earlier manifests/splits.parquet to keep: all classes are assigned"
    assert capsys.readouterr().out.splitlines()[0] == line


def test_a_given_list_decides_though_an_earlier_split_has_another_one(project):
    write_manifests(named_classes("a", "b"))
    project.run("split")
    other = {"train": "test", "test": "train"}
    text = "".join(f"{name},{other[split]}\n" for name, (_, split, _) in splits().items())
    (project.root / "lists.csv").write_text(f"class_name,split\n{text}")
    before = splits()
    project.set(split__freeze=True, split__by="file", split__file="lists.csv")
    project.run("split")
    assert {name: other[split] for name, (_, split, _) in splits().items()} == {n: s for n, (_, s, _) in before.items()}


def test_a_missed_target_is_said_of_the_new_classes(project, capsys):
    write_manifests(named_classes("a", "b"))
    project.run("split")
    write_manifests(named_classes("a", "b", "c"))
    project.set(split__freeze=True, split__sample__target_clips={"train": 9, "test": 6})
    project.run("split")
    assert "target of 6 test clips missed by -1: no choice of new classes is nearer" in capsys.readouterr().out


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
