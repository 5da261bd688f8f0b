"""Leaks between splits are found, and near-duplicates are counted."""

import cv2
import numpy as np
import pytest

from pipeline.composite.leaks import Identity, NearDuplicates, find_leaks, fingerprint, near_duplicates
from pipeline.video import filmstrip


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


def drifting_noise(seed, frames=40):
    """A window that moves over blurred noise: unlike that of other seeds, and like itself when encoded again."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (64, 160, 3), dtype=np.uint8), (0, 0), 6)
    noise = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([noise[:, tick : tick + 64] for tick in range(frames)])


def test_clip_encoded_again_is_a_near_duplicate_and_other_clips_are_not():
    clips = {f"clip{seed}": drifting_noise(seed) for seed in range(30)}
    fingerprints = {clip_id: fingerprint(frames) for clip_id, frames in clips.items()}
    encoded = filmstrip.decode(filmstrip.encode(clips["clip7"], format="jpg", quality=60), 64)
    copy = fingerprint(np.clip(encoded.astype(int) * 0.9 + 10, 0, 255).astype(np.uint8))
    train = {name: value for name, value in fingerprints.items() if int(name[4:]) < 20}
    test = {name: value for name, value in fingerprints.items() if int(name[4:]) >= 20}
    assert near_duplicates({"train": train, "test": test, "val": {}}) == NearDuplicates(0, ())
    found = near_duplicates({"train": train, "test": test | {"copy": copy}})
    assert found == NearDuplicates(1, (("copy", "clip7"),))


def test_clip_without_contrast_has_no_fingerprint():
    assert fingerprint(np.zeros((10, 64, 64, 3), np.uint8)) is None


def test_one_frame_is_enough_for_a_fingerprint():
    assert len(fingerprint(drifting_noise(1)[:1])) == 32
