"""Masked errors of an autoencoder and of trivial controls."""

import numpy as np
import pytest
import torch

from tests.training import toy
from tests.training.models.tiny import SHAPE
from tests.training.toy import ToyClip
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.reconstruction import masked_errors, same_place, visible_mean
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.tubelets import Grid

GRID = Grid(num_frames=4, image_size=8, tubelet=2, patch=4)  # 2 time patches of 2x2


def drawn():
    """A video (2, 3, 4, 8, 8) and a mask of 5 of its 8 tokens."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 8, 8, generator=generator), Masking("random", 0.6)(2, GRID, generator)


def tubelet(video, clip, token):
    """The pixels of a token, (3, 2, 4, 4)."""
    time, place = divmod(token, 4)
    row, column = divmod(place, 2)
    return video[clip, :, 2 * time : 2 * time + 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]


def test_visible_mean_is_the_mean_colour_of_the_visible_pixels():
    video, mask = drawn()
    filled = visible_mean(video, mask, GRID)
    for clip in range(2):
        shown = torch.stack([tubelet(video, clip, token) for token in range(8) if not mask[clip, token]])
        for colour in range(3):
            assert filled[clip, colour].unique().numel() == 1
            assert float(filled[clip, colour, 0, 0, 0]) == pytest.approx(float(shown[:, colour].mean()), abs=1e-5)


def test_same_place_is_the_mean_over_time_of_the_visible_patches_at_a_place_or_the_visible_mean():
    video, mask = drawn()
    filled, fallback = same_place(video, mask, GRID), visible_mean(video, mask, GRID)
    kinds = set()
    for clip in range(2):
        for token in range(8):
            seen = [other for other in (token % 4, token % 4 + 4) if not mask[clip, other]]
            kinds.add(len(seen))
            frames = [tubelet(video, clip, other).mean(1, keepdim=True) for other in seen]
            expected = torch.stack(frames).mean(0) if frames else tubelet(fallback, clip, token)[:, :1]
            torch.testing.assert_close(tubelet(filled, clip, token), expected.expand(3, 2, 4, 4))
    assert kinds == {0, 1, 2}


@pytest.mark.parametrize("target_frames", [None, 4])
def test_errors_are_those_of_a_loop_over_clips(here, target_frames):
    rng = np.random.default_rng(0)
    toy.write_shards(here, [ToyClip(f"n{n}", rng.integers(0, 255, (20, 64, 64, 3), np.uint8), n) for n in range(35)])
    clips = Clips()
    model = create_model("small_2x8x8", **SHAPE, target_frames=target_frames).eval()
    data = ClipWindows(clips, clips.rows, frames=8, stride=2)
    masking, generator = Masking("random", 0.75), torch.Generator().manual_seed(5)
    masks = torch.cat([masking(size, model.config.grid, generator) for size in (32, 3)])
    found = masked_errors(model, data, masking, seed=5)
    frames, time = model.target_frames(), (target_frames or 8) // 4
    expected = {"model": [], "visible_mean": []}
    for clip in range(35):
        video = preprocess(data.even_windows(torch.tensor([clip]), 0, 1), model.config)
        truth = video[:, :, frames]
        with torch.no_grad():
            filled = model.reconstruct(video, masks[clip : clip + 1])
        pixels = masks[clip].reshape(4, 8, 8).repeat_interleave(time, 0)
        pixels = pixels.repeat_interleave(8, 1).repeat_interleave(8, 2)
        mean = truth[0][:, ~pixels].mean(1)
        expected["model"].append(float((filled - truth)[0][:, pixels].square().mean()))
        expected["visible_mean"].append(float((mean[:, None] - truth[0][:, pixels]).square().mean()))
    for name, values in expected.items():
        assert found[name][0] == pytest.approx(np.mean(values), rel=1e-4)
        assert found[name][1] == pytest.approx(1.96 * np.std(values, ddof=1) / 35**0.5, rel=1e-3)
    assert found["same_place"][0] > found["visible_mean"][0]  # noise has no scene: fewer patches, a worse mean
