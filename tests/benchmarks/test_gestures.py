"""The gestures benchmark on circling squares: clips and their symmetries, and all of it in a few steps."""

import numpy as np
import pytest
import torch

from benchmarks import gestures
from benchmarks.centred import CentredWindows, SymmetricWindows
from benchmarks.gesture_networks import Settings, Split
from tests.training import toy
from training.clips import Clips

TEST, CLIPS, TICKS = 2, 8, 12
SMALL = Settings(
    pretrain_steps=2,
    embedding_steps=2,
    head_steps=2,
    episodes=3,
    symmetries=3,
    views=2,
    frames=8,
    dim=8,
    width=4,
    hidden=8,
)


@pytest.fixture
def clips(here):
    drawn = toy.orbit_clips(classes=5, held_out=TEST, per_class=CLIPS, ticks=TICKS, size=64)
    toy.write_shards(here, drawn)
    toy.write_params(here)
    return Clips()


def test_symmetric_clips_are_centred_ones_moved_and_of_classes_of_their_own(clips):
    rows = clips.select(split="train")
    plain = CentredWindows(clips, rows, frames=8, size=16)
    moved = SymmetricWindows(clips, rows, frames=8, size=16, symmetries=16)
    number = len(rows)
    assert len(moved) == 16 * number
    index = torch.tensor([0, 5, number - 1])
    frames = plain.even_windows(index, 1, 2).numpy()
    for symmetry in range(16):
        expected = frames[:, ::-1] if symmetry >= 8 else frames
        expected = expected[:, :, :, ::-1] if symmetry in (4, 5, 6, 7, 12, 13, 14, 15) else expected
        expected = np.rot90(expected, symmetry % 4, (2, 3))
        assert np.array_equal(moved.even_windows(index + symmetry * number, 1, 2).numpy(), expected)
        assert [moved.rows[int(place) + symmetry * number].clip_id for place in index] == [
            rows[int(place)].clip_id for place in index
        ]
    assert len({clip.class_id for clip in moved.rows}) == 3 * 16


def test_every_method_is_measured_in_the_same_episodes_and_again_from_its_checkpoints(clips, monkeypatch):
    split = Split("test", TEST, clips.select(split="train"), clips.select(split="test"))
    found = gestures.measure(clips, split, SMALL)
    frozen = {"prototypes", "otam", "linear", "nearest_mean", "linear_embedding"}
    trained = {"mann", "lstm", "transformer", "maml", "anil", "trx"}
    methods = {f"{head}_pretrained" for head in frozen | trained} | {f"{head}_random" for head in frozen}
    assert {name for name in found if not name.startswith("nearest ")} == methods
    assert all(values.shape == (3, 2) and (values * 2 % 1 == 0).all() for values in found.values())

    def no_step(*_):
        raise AssertionError("a finished run takes a step")

    monkeypatch.setattr(torch.optim.AdamW, "step", no_step)
    again = gestures.measure(clips, split, SMALL)
    assert all(torch.equal(found[name], again[name]) for name in found)
