"""The class of each clip by each rule; class ids."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.composite.classes import (
    ClassName,
    assign_classes,
    count_label_sets,
    label_set_classes,
    normalise_labels,
    number_classes,
)
from pipeline.params import Merge
from tests.pipeline.composite.clips import MULTI_LABEL, multi_label_clip, youtube_clip

SOURCES = ["own", "tubes", "youtube"]


def class_names(clips, rule="label_sets", kept=5):
    """The name of each clip's class, by clip_id."""
    classes = assign_classes(clips, MULTI_LABEL, Merge(rule, kept, None), kept)
    return {clip_id: name.name for clip_id, name in classes.items()}


def walkers_and_talkers():
    """Twelve clips: five that walk, four that walk and talk, three that talk."""
    return [
        *(multi_label_clip(f"walk{n}", "walk") for n in range(5)),
        *(multi_label_clip(f"both{n}", "talk", "walk") for n in range(4)),
        *(multi_label_clip(f"talk{n}", "talk") for n in range(3)),
    ]


def test_frequent_label_sets_are_classes():
    names = class_names(walkers_and_talkers(), kept=3)
    assert Counter(names.values()) == {"walk": 5, "talk + walk": 4, "talk": 3}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("walk", "talk", "carry"), "talk + walk"),
        (("walk", "carry"), "walk"),
        (("carry", "talk"), "talk"),
        (("carry", "run"), "carry"),
    ],
    ids=["contains_two_of_which_one_is_more_frequent", "contains_one", "order_is_irrelevant", "contains_none"],
)
def test_rare_label_set_joins_the_most_frequent_kept_subset_else_its_first_label(labels, expected):
    clips = [*walkers_and_talkers(), *(multi_label_clip(f"more{n}", "talk", "walk") for n in range(4))]
    assert class_names([*clips, multi_label_clip("rare", *labels)], kept=3)["rare"] == expected


def test_ties_between_label_sets_go_by_name_whatever_the_order_of_labels_and_clips():
    labels = {"1": "ba", "2": "ab", "3": "d", "4": "d", "5": "c", "6": "c"}
    clips = [multi_label_clip(clip_id, *text) for clip_id, text in labels.items()]
    classes = label_set_classes(clips, kept=2)
    assert classes["1"] == classes["2"] == ClassName("tubes", "a + b", ("a", "b"))
    assert classes["5"].name == "c"
    assert classes["3"].name == "d"  # not among the two kept sets: the class of its first label
    assert classes == label_set_classes(clips[::-1], kept=2)


def test_fewer_label_sets_are_kept_when_the_number_of_classes_is_fixed():
    clips = [*walkers_and_talkers(), multi_label_clip("rare", "carry", "run")]
    assert count_label_sets(clips, Merge("label_sets", 3, None)) == 3
    assert set(class_names(clips, kept=3).values()) == {"walk", "talk + walk", "talk", "carry"}
    kept = count_label_sets(clips, Merge("label_sets", 3, expected_classes=3))
    assert kept == 1
    assert set(class_names(clips, kept=kept).values()) == {"walk", "talk", "carry"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("label_sets", {"y": "run", "t1": "talk + walk", "t2": "talk + walk", "t3": "talk"}),
        ("first_label", {"y": "run", "t1": "walk", "t2": "talk", "t3": "talk"}),
        ("source_video", {"y": "run", "t1": "one", "t2": "two", "t3": "two"}),
    ],
)
def test_class_rule_applies_to_multi_label_sources_only(rule, expected):
    clips = [
        youtube_clip("y", "run"),
        multi_label_clip("t1", "walk", "talk", scene="one"),
        multi_label_clip("t2", "talk", "walk", scene="two"),
        multi_label_clip("t3", "talk", scene="two"),
    ]
    assert class_names(clips, rule) == expected


def test_spellings_of_one_label_are_one_class():
    labels = ["Swim ", "swim", "swim", "cafe\u0301", "caf\u00e9"]
    clips = normalise_labels([youtube_clip(str(n), label) for n, label in enumerate(labels)], aliases={})
    assert set(class_names(clips).values()) == {"swim", "caf\u00e9"}


def test_spellings_are_compared_within_a_source():
    clips = [
        youtube_clip("a", "Swim"),
        youtube_clip("b", "swim", source="own"),
        youtube_clip("c", "swim", source="own"),
    ]
    assert [clip.labels for clip in normalise_labels(clips, aliases={})] == [("Swim",), ("swim",), ("swim",)]


def test_same_label_in_two_sources_is_two_classes():
    classes = assign_classes(
        [youtube_clip("y"), youtube_clip("o", source="own")], set(), Merge("label_sets", 5, None), 5
    )
    assert number_classes(classes.values(), SOURCES) == {classes["o"]: 0, classes["y"]: 1}


NAMES = st.builds(ClassName, st.sampled_from(SOURCES), st.text(min_size=1, max_size=3), st.just(()))


@given(names=st.lists(NAMES, min_size=1), data=st.data())
def test_class_ids_have_no_gaps_follow_the_sources_and_do_not_depend_on_the_order_of_clips(names, data):
    numbers = number_classes(names, SOURCES)
    assert sorted(numbers.values()) == list(range(len(set(names))))
    assert number_classes(data.draw(st.permutations(names)), SOURCES) == numbers
    sources = [SOURCES.index(name.source) for name in sorted(numbers, key=numbers.__getitem__)]
    assert sources == sorted(sources)


LABELS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)


@given(sets=st.lists(LABELS, min_size=1, max_size=40), kept=st.integers(1, 8), data=st.data())
def test_a_class_is_a_kept_label_set_or_the_first_label(sets, kept, data):
    clips = [multi_label_clip(str(number), *labels) for number, labels in enumerate(sets)]
    classes = label_set_classes(clips, kept)
    counts = Counter(tuple(sorted(labels)) for labels in sets)
    for clip in clips:
        members = classes[clip.clip_id].member_labels
        assert set(members) <= set(clip.labels)
        assert members in counts or members == clip.labels[:1]
    unchanged = [clip for clip in clips if classes[clip.clip_id].member_labels == tuple(sorted(clip.labels))]
    assert len(unchanged) >= sum(count for _, count in counts.most_common(kept))
    assert label_set_classes(data.draw(st.permutations(clips)), kept) == classes
