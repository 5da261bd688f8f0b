"""Leaks between splits are found, and near-duplicates are counted."""

import pytest

from pipeline.composite.leaks import Identity, NearDuplicates, find_leaks, near_duplicates


@pytest.mark.parametrize(
    ("other", "messages"),
    [
        (Identity("a", "test", "other", "other"), ["clip a is in test (a) and in train (a)"]),
        (Identity("b", "test", "sha-a", "other"), ["content sha-a is in test (b) and in train (a)"]),
        (Identity("b", "test", "other", "video-a"), ["video video-a is in test (b) and in train (a)"]),
        (Identity("b", "train", "sha-a", "video-a"), []),
        (Identity("b", "test", "other", None), []),
    ],
    ids=["clip", "content", "video", "same_split", "not_from_youtube"],
)
def test_properties_in_two_splits_are_reported(other, messages):
    assert find_leaks([Identity("a", "train", "sha-a", "video-a"), other]) == messages


def test_clips_without_a_youtube_video_do_not_share_one():
    assert find_leaks([Identity("a", "train", "x", None), Identity("b", "test", "y", None)]) == []


def test_near_duplicates_are_counted_across_splits_alone():
    clips = [
        Identity(name, split, name, None) for name, split in zip("abcd", ("train", "test", "train", "val"), strict=True)
    ]
    duplicate_of = {"b": "a", "c": "a", "d": "a", "lost": "a", "a": "lost"}
    assert near_duplicates(clips, duplicate_of) == NearDuplicates(2, (("a", "b"), ("a", "d")))
