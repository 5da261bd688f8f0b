"""Clips that the composite leaves out: repeated content, repeated seconds of a video, and more than the quota."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.composite.classes import assign_classes, normalise_labels, number_classes
from pipeline.composite.repeats import beyond_quota, find_repeats
from pipeline.params import Merge
from tests.pipeline.composite.clips import MULTI_LABEL, YOUTUBE, multi_label_clip, youtube_clip


def classes_of(clips):
    return assign_classes(normalise_labels(clips, {}), MULTI_LABEL, Merge("label_sets", 118, None), 118)


def decide(clips):
    """`ok`, `spare` or a failure code for each clip, by clip_id."""
    classes = classes_of(clips)
    repeats = find_repeats(clips, classes, YOUTUBE)
    spare = beyond_quota([clip for clip in clips if clip.clip_id not in repeats], classes)
    ids = [clip.clip_id for clip in clips]
    return {n: str(repeats[n].code) if n in repeats else "spare" if n in spare else "ok" for n in ids}


def details(clips):
    """The detail of each repeat, by clip_id."""
    return {clip_id: error.detail for clip_id, error in find_repeats(clips, classes_of(clips), YOUTUBE).items()}


# Quotas


def test_earliest_arrivals_fill_the_quota_and_the_others_are_spare():
    clips = [youtube_clip(f"c{rank}", rank=rank, quota=2) for rank in (3, 0, 2, 1)]
    assert decide(clips) == {"c0": "ok", "c1": "ok", "c2": "spare", "c3": "spare"}


def test_all_clips_stay_without_a_quota():
    assert set(decide([multi_label_clip(f"t{n}", "walk") for n in range(50)]).values()) == {"ok"}


def test_a_spare_replaces_a_duplicate():
    clips = [youtube_clip("a", sha256="x", rank=0, quota=2), youtube_clip("b", sha256="x", rank=1, quota=2)]
    clips.append(youtube_clip("c", rank=2, quota=2))
    assert decide(clips) == {"a": "ok", "b": "duplicate", "c": "ok"}


# Content


def test_earliest_of_clips_with_equal_filmstrips_stays():
    clips = [youtube_clip("b", sha256="x", rank=1), youtube_clip("a", sha256="x", rank=2), youtube_clip("c", rank=0)]
    assert decide(clips) == {"b": "ok", "a": "duplicate", "c": "ok"}
    assert details(clips) == {"a": "the same pictures as b"}


def test_no_clip_stays_when_equal_filmstrips_have_different_classes():
    clips = [youtube_clip("a", "run", sha256="x"), youtube_clip("b", "jump", sha256="x"), youtube_clip("c", "run")]
    assert decide(clips) == {"a": "conflicting_label", "b": "conflicting_label", "c": "ok"}
    assert details(clips)["a"] == "the same pictures are labelled jump and run"


# Videos


def test_clips_of_a_youtube_video_have_one_class():
    clips = [youtube_clip(name, label, video_id="v") for name, label in (("a", "run"), ("b", "jump"), ("c", "run"))]
    clips = [replace(clip, rank=rank) for rank, clip in enumerate(clips)]
    assert decide(clips) == {"a": "ok", "b": "duplicate", "c": "ok"}
    assert details(clips) == {"b": "of the same video as a, which is of class run"}


def test_clips_of_a_video_that_is_not_from_youtube_may_have_several_classes():
    assert set(decide([multi_label_clip("a", "walk"), multi_label_clip("b", "talk")]).values()) == {"ok"}


def test_of_clips_that_share_seconds_of_a_video_the_earliest_stays():
    clips = [
        youtube_clip("a", video_id="v", seconds=(0, 10), rank=0),
        youtube_clip("b", video_id="v", seconds=(8, 18), rank=1),
        youtube_clip("c", video_id="v", seconds=(10, 20), rank=2),
        youtube_clip("d", video_id="w", seconds=(0, 10), rank=3),
    ]
    assert decide(clips) == {"a": "ok", "b": "duplicate", "c": "ok", "d": "ok"}
    assert details(clips) == {"b": "it shares seconds with a"}


def test_neither_clip_stays_when_most_of_their_seconds_are_shared_and_their_classes_differ():
    clips = [
        youtube_clip("a", "run", video_id="v", seconds=(0, 10), rank=0),
        youtube_clip("b", "jump", video_id="v", seconds=(2, 12), rank=1),
        youtube_clip("c", "jump", video_id="v", seconds=(20, 30), rank=2),
    ]
    assert decide(clips) == {"a": "conflicting_label", "b": "conflicting_label", "c": "ok"}
    assert details(clips)["a"] == "the same seconds are labelled jump and run"


@st.composite
def arbitrary_clips(draw):
    """Up to 25 clips of few labels, videos and contents, so that they collide in every way."""
    starts = draw(st.lists(st.integers(0, 30), min_size=1, max_size=25))
    return [
        youtube_clip(
            f"c{number}",
            draw(st.sampled_from(["run", "jump", "Jump", "swim"])),
            video_id=draw(st.sampled_from("uvwxyz")),
            sha256=draw(st.sampled_from("0123456789abcdef")),
            rank=number,
            quota=draw(st.sampled_from([None, 2, 5])),
            seconds=(start, start + 10),
        )
        for number, start in enumerate(starts)
    ]


@given(clips=arbitrary_clips(), data=st.data())
@settings(deadline=None, max_examples=60)
def test_kept_clips_have_one_class_per_video_and_distinct_content_in_any_order(clips, data):
    decisions, classes = decide(clips), classes_of(clips)
    assert decide(data.draw(st.permutations(clips))) == decisions
    kept = [clip for clip in clips if decisions[clip.clip_id] == "ok"]
    assert kept or set(decisions.values()) <= {"conflicting_label"}
    assert len({clip.sha256 for clip in kept}) == len(kept)
    for video_id in {clip.video_id for clip in kept}:
        assert len({classes[clip.clip_id] for clip in kept if clip.video_id == video_id}) == 1
    numbers = number_classes((classes[clip.clip_id] for clip in kept), ["youtube"])
    assert sorted(numbers.values()) == list(range(len(numbers)))
