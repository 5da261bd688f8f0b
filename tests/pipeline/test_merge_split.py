"""Classes by rule, quotas, repeats; and the split into classes that training sees and classes that it never sees."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import WorkError
from pipeline.merge import (
    ClassName,
    assign_classes,
    drop_repeats,
    fill_quotas,
    label_set_classes,
    number_classes,
)
from pipeline.params import Merge, Split, SplitCounts
from pipeline.split import choose, read_lists
from tests.pipeline.draw import frame_times, write_video

KINDS = {"kinetics400": "kinetics400", "tinyvirat": "tinyvirat", "own": "folder"}


def tube(clip_id, *labels, scene="scene"):
    return clip(clip_id, *labels, source="tinyvirat", video_id=scene)


def clip(clip_id, *labels, source="kinetics400", video_id=None, sha256=None, rank=0, quota=None, seconds=(None, None)):
    return {
        "clip_id": clip_id,
        "source": source,
        "status": "ok",
        "error": None,
        "error_detail": None,
        "labels": list(labels),
        "video_id": video_id or clip_id,
        "sha256": sha256 or clip_id,
        "rank": rank,
        "quota": quota,
        "start_s": seconds[0],
        "end_s": seconds[1],
    }


def outcome(rows):
    return {row["clip_id"]: row["error"] or row["status"] for row in rows}


# Classes


def test_label_sets_on_an_example_worked_by_hand():
    rows = [
        *[tube(f"w{n}", "walk") for n in range(5)],
        *[tube(f"wt{n}", "talk", "walk") for n in range(4)],
        *[tube(f"t{n}", "talk") for n in range(3)],
        tube("ct", "walk", "talk", "carry"),  # rare: walk (5) is contained in it and is the most frequent
        tube("tc", "talk", "carry"),  # rare: only talk is contained in it
        tube("cr", "carry", "run"),  # rare, and nothing kept is contained in it: its first label
    ]
    names = {clip_id: name.name for clip_id, name in label_set_classes(rows, kept=3).items()}
    assert {names[f"w{n}"] for n in range(5)} == {"walk"}
    assert {names[f"wt{n}"] for n in range(4)} == {"talk + walk"}
    assert (names["ct"], names["tc"], names["cr"]) == ("walk", "talk", "carry")


def test_where_the_number_of_classes_matters_it_is_met():
    rows = [
        *[tube(f"w{n}", "walk") for n in range(5)],
        *[tube(f"wt{n}", "talk", "walk") for n in range(4)],
        *[tube(f"t{n}", "talk") for n in range(3)],
        tube("cr", "carry", "run"),
    ]
    free = assign_classes(rows, KINDS, Merge("label_sets", 3, None))
    assert {name.name for name in free.values()} == {"walk", "talk + walk", "talk", "carry"}
    fixed = assign_classes(rows, KINDS, Merge("label_sets", 3, 3))
    assert {name.name for name in fixed.values()} == {
        "walk",
        "talk",
        "carry",
    }  # one set is kept, two labels stand alone


def test_label_sets_ties_go_by_name_and_order_of_labels_does_not_matter():
    rows = [tube("1", "b", "a"), tube("2", "a", "b"), tube("3", "d"), tube("4", "d"), tube("5", "c"), tube("6", "c")]
    names = label_set_classes(rows, kept=2)
    assert names["1"] == names["2"] == ClassName("tinyvirat", "a + b", ("a", "b"))
    assert names["5"].name == "c"
    assert names["3"].name == "d"  # not kept, so its first label: a class of its own
    assert names == label_set_classes(rows[::-1], kept=2)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("label_sets", {"k": "run", "t1": "talk + walk", "t2": "talk + walk", "t3": "talk"}),
        ("first_label", {"k": "run", "t1": "walk", "t2": "talk", "t3": "talk"}),
        ("source_video", {"k": "run", "t1": "one", "t2": "two", "t3": "two"}),
    ],
)
def test_each_rule_names_the_classes_of_tinyvirat_and_leaves_other_sources_alone(rule, expected):
    rows = [clip("k", "run"), tube("t1", "walk", "talk", scene="one"), tube("t2", "talk", "walk", scene="two")]
    rows.append(tube("t3", "talk", scene="two"))
    names = assign_classes(rows, KINDS, Merge(class_rule=rule, label_sets=5, expected_classes=None))
    assert {clip_id: name.name for clip_id, name in names.items()} == expected


def test_the_same_name_in_two_sources_is_two_classes():
    rows = [clip("k", "run"), clip("o", "run", source="own")]
    names = assign_classes(rows, KINDS, Merge("label_sets", 5, None))
    assert number_classes(names.values(), list(KINDS)) == {names["k"]: 0, names["o"]: 1}


NAMES = st.builds(ClassName, st.sampled_from(sorted(KINDS)), st.text(min_size=1, max_size=3), st.just(()))


@given(names=st.lists(NAMES, min_size=1), data=st.data())
def test_class_ids_are_dense_and_do_not_depend_on_the_order_of_clips(names, data):
    numbers = number_classes(names, list(KINDS))
    assert sorted(numbers.values()) == list(range(len(set(names))))
    assert number_classes(data.draw(st.permutations(names)), list(KINDS)) == numbers
    ranked = sorted(numbers, key=numbers.__getitem__)
    assert [name.source for name in ranked] == sorted((name.source for name in ranked), key=list(KINDS).index)


LABELS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)


@given(sets=st.lists(LABELS, min_size=1, max_size=40), kept=st.integers(1, 8), data=st.data())
def test_a_label_set_class_is_kept_contained_or_the_first_label(sets, kept, data):
    rows = [tube(str(n), *labels) for n, labels in enumerate(sets)]
    names = label_set_classes(rows, kept)
    counts = Counter(tuple(sorted(labels)) for labels in sets)
    for row in rows:
        members = names[row["clip_id"]].member_labels
        assert set(members) <= set(row["labels"])
        assert members in counts or members == (row["labels"][0],)
    whole = [row for row in rows if names[row["clip_id"]].member_labels == tuple(sorted(row["labels"]))]
    assert len(whole) >= sum(count for _, count in counts.most_common(kept))
    assert label_set_classes(data.draw(st.permutations(rows)), kept) == names


# Quotas and repeats


def merged(rows):
    names = assign_classes(rows, KINDS, Merge("label_sets", 100, None))
    drop_repeats(rows, names, KINDS)
    fill_quotas(rows, names)
    return outcome(rows)


def test_the_earliest_arrivals_fill_the_quota_and_the_rest_is_spare():
    rows = [clip(f"c{rank}", "run", rank=rank, quota=2) for rank in (3, 0, 2, 1)]
    assert merged(rows) == {"c0": "ok", "c1": "ok", "c2": "spare", "c3": "spare"}


def test_a_spare_steps_in_for_a_clip_that_broke():
    rows = [clip(f"c{rank}", "run", rank=rank, quota=2) for rank in range(3)]
    rows[0] |= {"status": "failed", "error": "decode_error"}
    assert merged(rows) == {"c0": "decode_error", "c1": "ok", "c2": "ok"}


def test_without_a_quota_all_stay():
    assert set(merged([tube(f"t{n}", "walk") for n in range(50)]).values()) == {"ok"}


def test_of_equal_pictures_the_earliest_stays():
    rows = [clip("b", "run", sha256="x", rank=1), clip("a", "run", sha256="x", rank=2), clip("c", "run", rank=0)]
    assert merged(rows) == {"b": "ok", "a": "duplicate", "c": "ok"}
    assert "as b" in next(row["error_detail"] for row in rows if row["clip_id"] == "a")


def test_equal_pictures_under_two_labels_are_all_lost():
    rows = [clip("a", "run", sha256="x"), clip("b", "jump", sha256="x"), clip("c", "run")]
    assert merged(rows) == {"a": "conflicting_label", "b": "conflicting_label", "c": "ok"}
    assert "jump and run" in rows[0]["error_detail"]


def test_a_duplicate_makes_room_for_a_spare():
    rows = [clip("a", "run", sha256="x", rank=0, quota=2), clip("b", "run", sha256="x", rank=1, quota=2)]
    rows.append(clip("c", "run", rank=2, quota=2))
    assert merged(rows) == {"a": "ok", "b": "duplicate", "c": "ok"}


def test_a_youtube_video_serves_one_class_only():
    rows = [
        clip("a", "run", video_id="v", rank=0),
        clip("b", "jump", video_id="v", rank=1),
        clip("c", "run", video_id="v", rank=2),
    ]
    assert merged(rows) == {"a": "ok", "b": "duplicate", "c": "ok"}


def test_a_virat_scene_may_serve_many_classes():
    assert set(merged([tube("a", "walk"), tube("b", "talk")]).values()) == {"ok"}


def test_seconds_shared_by_two_clips_of_a_video_are_one_clip():
    rows = [
        clip("a", "run", video_id="v", seconds=(0, 10), rank=0),
        clip("b", "run", video_id="v", seconds=(8, 18), rank=1),
        clip("c", "run", video_id="v", seconds=(10, 20), rank=2),
        clip("d", "run", video_id="w", seconds=(0, 10), rank=3),
    ]
    drop_repeats(rows, names_of(rows), KINDS)
    assert outcome(rows) == {"a": "ok", "b": "duplicate", "c": "ok", "d": "ok"}
    assert rows[1]["error_detail"] == "it shares seconds with a"


def test_the_same_seconds_under_two_labels_are_lost_both():
    rows = [
        clip("a", "run", video_id="v", seconds=(0, 10), rank=0),
        clip("b", "jump", video_id="v", seconds=(2, 12), rank=1),
        clip("c", "jump", video_id="v", seconds=(20, 30), rank=2),
    ]
    drop_repeats(rows, names_of(rows), KINDS)
    assert outcome(rows) == {"a": "conflicting_label", "b": "conflicting_label", "c": "ok"}
    assert rows[0]["error_detail"] == "the same seconds are labelled jump and run"


def test_spellings_of_one_label_are_one_class():
    rows = [clip(str(n), label) for n, label in enumerate(["Swim ", "swim", "swim", "cafe\u0301", "caf\u00e9"])]
    assert {name.name for name in names_of(rows).values()} == {"swim", "caf\u00e9"}


def names_of(rows):
    return assign_classes(rows, KINDS, Merge("label_sets", 118, None))


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_each_clip_is_kept_lost_or_spare_once_and_ids_are_stable(data):
    """Arbitrary manifests: nothing vanishes, classes are dense, order does not matter, no video has two classes."""
    rows = []
    for number in range(data.draw(st.integers(1, 25))):
        start = data.draw(st.integers(0, 30))
        rows.append(
            clip(
                f"c{number}",
                data.draw(st.sampled_from(["run", "jump", "Jump", "swim"])),
                video_id=data.draw(st.sampled_from("uvwxyz")),
                sha256=data.draw(st.sampled_from("0123456789abcdef")),
                rank=number,
                quota=data.draw(st.sampled_from([None, 2, 5])),
                seconds=(start, start + 10),
            )
        )
    orders = [rows, data.draw(st.permutations(rows))]
    results = []
    for order in orders:
        copies = [dict(row) for row in order]
        classes = names_of(copies)
        drop_repeats(copies, classes, KINDS)
        fill_quotas(copies, classes)
        kept = [row for row in copies if row["status"] == "ok"]
        numbers = number_classes((classes[row["clip_id"]] for row in kept), ["kinetics400"])
        assert sorted(numbers.values()) == list(range(len(numbers)))
        by_video, contents = {}, [row["sha256"] for row in kept]
        for row in kept:
            by_video.setdefault(row["video_id"], set()).add(numbers[classes[row["clip_id"]]])
        assert all(len(found) == 1 for found in by_video.values())
        assert len(contents) == len(set(contents))
        results.append((sorted(outcome(copies).items()), {name.name: n for name, n in numbers.items()}))
    assert results[0] == results[1]
    assert len(results[0][0]) == len(rows)


def test_another_number_of_classes_than_expected_stops_with_counts_and_the_param(project):
    for name in ("a", "b", "c"):
        write_video(project.root / f"clips/{name}/x.mp4", frame_times(ord(name) - 60, 10))
    project.set(merge__expected_classes=518)
    project.run("download", "trim", "resample", "resize")
    result = project.call("merge")
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line]
    assert "3 classes (own 3), but merge.expected_classes is 518" in line
    assert "null" in line
    assert not (project.root / "manifests/clips.parquet").exists()
    project.set(merge__expected_classes=3, split__expected={"train": 1, "test": 2})
    project.run("merge")
    with pytest.raises(WorkError, match=r"2 train and 1 test classes, but split.expected is 1 and 2"):
        project.run("split")


def test_one_class_cannot_be_split(project):
    write_video(project.root / "clips/a/x.mp4", frame_times(20, 10))
    project.run("download", "trim", "resample", "resize", "merge")
    with pytest.raises(WorkError, match="1 class cannot be split"):
        project.run("split")


# Split


def classes(sizes, source="own"):
    """Class rows with the given numbers of clips."""
    rows = [(source, size) for size in sizes] if isinstance(sizes, list) else [(s, n) for s in sizes for n in sizes[s]]
    return [{"class_id": n, "source": s, "clips": size, "class_name": str(n)} for n, (s, size) in enumerate(rows)]


def draw(rows, seed=0, held_out=0.2, target=None):
    total = sum(row["clips"] for row in rows)
    wanted = None if target is None else SplitCounts(total - target, target)
    return choose(rows, Split(seed=seed, held_out=held_out, target_clips=wanted, expected=None))


def clips_in(rows, held):
    return sum(row["clips"] for row in rows if row["class_id"] in held)


def test_a_fifth_of_518_is_104_spread_over_the_sources():
    rows = classes({"kinetics400": [30] * 400, "tinyvirat": [108] * 118})
    held = draw(rows)
    assert len(held) == 104
    assert sum(number < 400 for number in held) == 80


SIZES = st.lists(st.integers(1, 60), min_size=2, max_size=40)


@given(one=SIZES, other=SIZES, seed=st.integers(0, 99), share=st.floats(0.05, 0.9))
def test_both_sides_have_classes_and_each_source_its_share(one, other, seed, share):
    rows = classes({"a": one, "b": other})
    held = draw(rows, seed, share)
    assert held < {row["class_id"] for row in rows}
    assert held
    for source, sizes in (("a", one), ("b", other)):
        inside = sum(row["class_id"] in held for row in rows if row["source"] == source)
        assert abs(inside - len(held) * len(sizes) / len(rows)) < 1


@given(sizes=st.lists(st.integers(1, 3), min_size=6, max_size=12), seed=st.integers(0, 20))
def test_a_target_never_makes_the_count_of_classes_or_the_distance_worse(sizes, seed):
    rows = classes(sizes)
    free = draw(rows, seed, 0.4)
    target = 2 * len(free)
    held = draw(rows, seed, 0.4, target)
    assert len(held) == len(free)
    assert abs(clips_in(rows, held) - target) <= abs(clips_in(rows, free) - target)


@given(seed=st.integers(0, 500), shift=st.integers(-20, 20))
@settings(max_examples=50)
def test_the_target_is_met_exactly_where_classes_differ_by_single_clips(seed, shift):
    rows = classes({"kinetics400": [30, 31] * 40, "tinyvirat": list(range(10, 60))})
    target = clips_in(rows, draw(rows, seed)) + shift
    assert clips_in(rows, draw(rows, seed, target=target)) == target


def test_where_no_choice_meets_the_target_the_nearest_is_taken():
    rows = classes([10] * 9 + [13])
    assert clips_in(rows, draw(rows, held_out=0.3, target=32)) == 33
    assert clips_in(rows, draw(rows, held_out=0.3, target=31)) == 30


def test_the_seed_decides_and_nothing_else():
    rows = classes([30] * 100)
    assert draw(rows, seed=1) == draw(rows, seed=1)
    assert len({frozenset(draw(rows, seed=seed)) for seed in range(5)}) == 5


def test_a_given_list_decides(tmp_path):
    rows = [
        {"class_id": n, "source": "own", "clips": 5, "class_name": name}
        for n, name in enumerate(["A b", "c", "d", "e"])
    ]
    (tmp_path / "lists.csv").write_text("class_name,split\na  B,train\nc,val\nd,test\n")
    assert read_lists(tmp_path / "lists.csv", rows) == {0: "train", 1: "val", 2: "test", 3: "unused"}
    for side, text in (("train", "A b/clip1\nA b/clip2\n"), ("val", "c\n"), ("test", "d/x_000001\n\n")):
        (tmp_path / f"{side}.list").write_text(text)
    assert read_lists(tmp_path, rows) == {0: "train", 1: "val", 2: "test", 3: "unused"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class_name,split\na,train\na,test\n", "class 'a' is in train and in test"),
        ("class_name,split\na,train\nz,test\n", "1 classes are not in the composite, 'z' for one"),
        ("class_name,split\na,train\n", "has no test classes"),
        ("class_name,split\na,held out\n", "line 2: not class_name,split"),
        ("name\na\n", "line 2: not class_name,split"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(tmp_path, text, said):
    rows = [{"class_id": n, "source": "own", "clips": 5, "class_name": name} for n, name in enumerate("ab")]
    (tmp_path / "lists.csv").write_text(text)
    with pytest.raises(WorkError) as caught:
        read_lists(tmp_path / "lists.csv", rows)
    assert said in str(caught.value)


def test_a_given_list_goes_all_the_way_into_the_shards(project):
    for n, name in enumerate("abcd"):
        write_video(project.root / f"clips/{name}/x.mp4", frame_times(20 + n, 10))
    (project.root / "lists.csv").write_text("class_name,split\na,train\nb,val\nc,test\n")
    project.set(split__by="file", split__file="lists.csv")
    project.run("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")
    found = {row["class_name"]: row["split"] for row in project.rows("shards").values()}
    assert found == {"a": "train", "b": "val", "c": "test"}
    assert sorted(path.name for path in (project.root / "data/shards").glob("*.tar")) == [
        "test-000000.tar",
        "train-000000.tar",
        "val-000000.tar",
    ]


def test_a_class_whose_clips_all_failed_is_no_class_and_one_clip_is_enough(project):
    write_video(project.root / "clips/single/x.mp4", frame_times(20, 10))
    write_video(project.root / "clips/other/x.mp4", frame_times(21, 10))
    (project.root / "clips/lost").mkdir()
    (project.root / "clips/lost/x.mp4").write_bytes(b"no video")
    project.run("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")
    assert {row["class_name"] for row in project.rows("shards").values()} == {"single", "other"}
