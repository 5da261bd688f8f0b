"""Training and test share nothing, and what looks the same on both sides is found."""

import cv2
import numpy as np
import pytest

from pipeline.composite.leaks import exact, fingerprint, near
from pipeline.video import filmstrip


def row(clip_id, split, *, sha256=None, video_id=None, source="kinetics400"):
    return {
        "clip_id": clip_id,
        "split": split,
        "sha256": sha256 or clip_id,
        "video_id": video_id or clip_id,
        "source": source,
    }


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (row("a", "test", sha256="x", video_id="x"), "clip a is in test (a) and in train (a)"),
        (row("b", "test", sha256="a"), "content a is in test (b) and in train (a)"),
        (row("b", "test", video_id="a"), "video a is in test (b) and in train (a)"),
        (row("b", "train", sha256="a", video_id="a"), None),
        (row("b", "test", video_id="a", source="tinyvirat"), None),
    ],
)
def test_what_is_on_two_sides_is_named(other, said):
    found = exact([row("a", "train"), other], frozenset({"kinetics400"}))
    assert found == ([said] if said else [])


def scene(seed, frames=40):
    """A blurred noise picture that drifts: unlike any other seed's, and like itself after coding."""
    rng = np.random.default_rng(seed)
    still = cv2.GaussianBlur(rng.integers(0, 256, (64, 160, 3), dtype=np.uint8), (0, 0), 6)
    still = cv2.normalize(still, None, 0, 255, cv2.NORM_MINMAX)
    return np.stack([still[:, tick : tick + 64] for tick in range(frames)])


def test_the_same_clip_coded_anew_is_found_and_others_are_not():
    clips = {f"clip{seed}": scene(seed) for seed in range(30)}
    prints = {clip_id: fingerprint(frames) for clip_id, frames in clips.items()}
    again = filmstrip.decode(filmstrip.encode(clips["clip7"], format="jpg", quality=60), 64)
    copy = fingerprint(np.clip(again.astype(int) * 0.9 + 10, 0, 255).astype(np.uint8))
    train = {name: mark for name, mark in prints.items() if int(name[4:]) < 20}
    test = {name: mark for name, mark in prints.items() if int(name[4:]) >= 20}
    assert near({"train": train, "test": test, "val": {}}) == (0, [])
    assert near({"train": train, "test": test | {"copy": copy}}) == (1, [("copy", "clip7")])


def test_flat_clips_have_no_fingerprint():
    assert fingerprint(np.zeros((10, 64, 64, 3), np.uint8)) is None


def test_one_frame_is_enough():
    assert len(fingerprint(scene(1)[:1])) == 32
