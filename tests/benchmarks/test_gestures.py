"""The gestures benchmark on circling squares: turned clips are classes of their own, and all of it in a few steps."""

import numpy as np
import pytest
import torch

from benchmarks import gestures
from benchmarks.centred import CentredWindows, TurnedWindows
from benchmarks.frame_tokens import frame_tokens, token_views
from benchmarks.gesture_networks import Settings, Split
from tests.training import toy
from training.clips import Clips
from training.models import create_model

TEST, CLIPS, TICKS = 2, 8, 12
SMALL = Settings(
    pretrain_steps=2, embedding_steps=2, head_steps=2, episodes=3, turns=2, views=1, frames=8, dim=8, width=4, hidden=8
)


@pytest.fixture
def clips(here):
    drawn = toy.orbit_clips(classes=5, held_out=TEST, per_class=CLIPS, ticks=TICKS, size=64)
    toy.write_shards(here, drawn)
    toy.write_params(here)
    return Clips()


def test_turned_clips_are_those_of_centred_windows_turned_and_of_classes_of_their_own(clips):
    rows = clips.select(split="train")
    plain = CentredWindows(clips, rows, frames=8, size=16)
    turned = TurnedWindows(clips, rows, frames=8, size=16, turns=3)
    number = len(rows)
    assert len(turned) == 3 * number
    for turn in range(3):
        index = torch.tensor([0, 5, number - 1])
        expected = np.rot90(plain.even_windows(index, 1, 2).numpy(), turn, (2, 3))
        assert np.array_equal(turned.even_windows(index + turn * number, 1, 2).numpy(), expected)
        assert [turned.rows[int(place) + turn * number].clip_id for place in index] == [
            rows[int(place)].clip_id for place in index
        ]
    assert len({clip.class_id for clip in turned.rows}) == 9


def test_views_are_of_the_middle_window_and_of_jittered_ones(clips):
    model = create_model("small_2x8x8", num_frames=8, image_size=16, tubelet=2, patch=8, dim=8, depth=1, heads=2)
    data = CentredWindows(clips, clips.select(split="train"), frames=8, size=16)
    views = token_views(model.eval(), data, 3)
    assert views.shape == (len(data), 3, 4, 1, 4 * 8)
    with torch.no_grad():
        plain = frame_tokens(model, data.even_windows(torch.arange(len(data)), 0, 1))
    assert torch.allclose(views[:, 0], plain, atol=1e-5)
    apart = (views[:, 1:] - plain[:, None]).abs().amax((2, 3, 4))
    assert (apart > 1e-3).all()
    assert not torch.equal(apart[:, 0], apart[:, 1])
    assert torch.equal(views, token_views(model, data, 3))


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
