"""What merge keeps with `split.freeze`: the clips that there are before new ones, and their class ids and names."""

from dataclasses import replace

import pytest

from pipeline.composite.classes import ClassName
from pipeline.composite.growth import Earlier, read_earlier
from pipeline.composite.repeats import find_repeats
from pipeline.records import manifests
from pipeline.records.rows import ClassRow, CompositeRow
from tests.pipeline.composite.clips import YOUTUBE, youtube_clip
from tests.pipeline.composite.test_repeats import classes_of


def name(text, source="own"):
    return ClassName(source, text, (text,))


def test_earlier_classes_keep_their_ids_and_new_ones_follow():
    earlier = Earlier(classes={name("b"): 0, name("gone"): 2, name("a", "other"): 1})
    numbers = earlier.number([name("c"), name("a"), name("b"), name("a", "other")], ["first", "own", "other"])
    assert numbers == {name("b"): 0, name("gone"): 2, name("a", "other"): 1, name("a"): 3, name("c"): 4}


def test_without_an_earlier_composite_classes_are_numbered_by_source_and_name():
    assert Earlier().number([name("b"), name("a"), name("a", "x")], ["x", "own"]) == {
        name("a", "x"): 0,
        name("a"): 1,
        name("b"): 2,
    }


def test_a_spelling_that_new_clips_make_more_frequent_does_not_rename_a_class():
    earlier = Earlier(classes={name("Jump"): 0})
    assert earlier.named({"x": name("jump"), "y": name("jump", "other")}) == {
        "x": name("Jump"),
        "y": name("jump", "other"),
    }


def test_an_earlier_composite_is_that_of_the_manifests(here):
    assert read_earlier() == Earlier()
    common = {"source": "own", "labels": ("a",), "video_id": "v"}
    ok = CompositeRow(clip_id="x", class_id=0, class_name="a", path="x", bytes=1, sha256="x", valid_frames=9, **common)
    failed = CompositeRow(clip_id="z", status="failed", error="timeout", **common)
    manifests.write(CompositeRow, [ok, replace(ok, clip_id="y", status="spare"), failed])
    manifests.write(ClassRow, [ClassRow(class_id=0, class_name="a", source="own", member_labels=("a",), clips=1)])
    assert read_earlier() == Earlier(frozenset({"x"}), {name("a"): 0})


# New clips beside those that there are


def found(*clips):
    return {clip_id: str(error.code) for clip_id, error in find_repeats(clips, classes_of(clips), YOUTUBE).items()}


@pytest.mark.parametrize(("label", "code"), [("run", "duplicate"), ("jump", "conflicting_label")])
def test_a_new_clip_with_the_pictures_of_an_earlier_one_is_left_out_though_it_arrives_first(label, code):
    new, old = youtube_clip("a", label, sha256="x", rank=0), youtube_clip("b", "run", sha256="x", rank=1)
    assert "b" in found(new, old)
    assert found(new, replace(old, is_new=False)) == {"a": code}


@pytest.mark.parametrize(("label", "code"), [("run", "duplicate"), ("jump", "conflicting_label")])
def test_a_new_clip_with_the_seconds_of_an_earlier_one_is_left_out_though_it_arrives_first(label, code):
    new = youtube_clip("a", label, rank=0, video_id="v", seconds=(0.0, 10.0))
    old = youtube_clip("b", "run", rank=1, video_id="v", seconds=(1.0, 11.0))
    assert "b" in found(new, old)
    assert found(new, replace(old, is_new=False)) == {"a": code}


def test_new_clips_of_a_video_are_still_compared_with_an_earlier_one_of_which_another_is_the_contradiction():
    """Else the video would be in two classes, and perhaps in two splits."""
    old = replace(youtube_clip("b", "run", rank=1, video_id="v", seconds=(0.0, 10.0)), is_new=False)
    same = youtube_clip("a", "jump", rank=0, video_id="v", seconds=(0.0, 10.0))
    elsewhere = youtube_clip("c", "swim", rank=2, video_id="v", seconds=(50.0, 60.0))
    assert found(old, same, elsewhere) == {"a": "conflicting_label", "c": "duplicate"}
