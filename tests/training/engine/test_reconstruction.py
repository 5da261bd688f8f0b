"""Masked errors of an autoencoder and of trivial controls, against loops over tokens and pixels."""

import math

import numpy as np
import pytest
import torch

from tests.training import toy
from tests.training.models.tiny import SHAPE, random_video
from tests.training.toy import ToyClip
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.reconstruction import masked_errors, same_place, token_errors, visible_mean
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.targets import to_target
from training.models.tubelets import Grid, TokenSplit, patchify, unpatchify

GRID = Grid(num_frames=4, image_size=8, tubelet=2, patch=4)  # 2 time patches of 2x2


def drawn():
    """A video (2, 3, 4, 8, 8) and a mask of 5 of its 8 tokens."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 8, 8, generator=generator), Masking("random", 0.6)(2, GRID, generator)


def filled(video, mask, control):
    """The video with its masked tokens replaced by the control's."""
    tubelets = patchify(video, GRID.tubelet, GRID.patch)
    values = control(tubelets, TokenSplit.of(mask, len(video), GRID), GRID)
    tubelets[mask] = values.flatten(0, 1)
    return unpatchify(tubelets, GRID)


def tubelet(video, clip, token):
    """The pixels of a token, (3, 2, 4, 4)."""
    time, place = divmod(token, 4)
    row, column = divmod(place, 2)
    return video[clip, :, 2 * time : 2 * time + 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]


def test_visible_mean_is_the_mean_colour_of_the_visible_pixels():
    video, mask = drawn()
    guess = filled(video, mask, visible_mean)
    for clip in range(2):
        shown = torch.stack([tubelet(video, clip, token) for token in range(8) if not mask[clip, token]])
        expected = shown.mean((0, 2, 3, 4)).reshape(3, 1, 1, 1).expand(3, 2, 4, 4)
        for token in mask[clip].nonzero()[:, 0].tolist():
            torch.testing.assert_close(tubelet(guess, clip, token), expected)


def test_same_place_is_the_mean_over_time_of_the_visible_patches_at_a_place_or_the_visible_mean():
    video, mask = drawn()
    guess, fallback = filled(video, mask, same_place), filled(video, mask, visible_mean)
    kinds = set()
    for clip in range(2):
        for token in mask[clip].nonzero()[:, 0].tolist():
            seen = [other for other in (token % 4, token % 4 + 4) if not mask[clip, other]]
            kinds.add(len(seen))
            frames = [tubelet(video, clip, other).mean(1, keepdim=True) for other in seen]
            expected = torch.stack(frames).mean(0) if frames else tubelet(fallback, clip, token)[:, :1]
            torch.testing.assert_close(tubelet(guess, clip, token), expected.expand(3, 2, 4, 4))
    assert kinds == {0, 1}


@pytest.mark.parametrize("target", ["pixels", "per_patch", "per_channel"])
@pytest.mark.parametrize("target_frames", [None, 4])
def test_token_errors_are_those_of_the_reconstructed_pixels(target, target_frames):
    torch.manual_seed(0)
    colours = {"mean": [0.4, 0.5, 0.3], "std": [0.2, 0.3, 0.25]}
    model = create_model("small_2x8x8", **SHAPE, **colours, target=target, target_frames=target_frames).eval()
    grid, video = model.config.target_grid, random_video()
    mask = Masking("random", 0.75)(2, model.config.grid, torch.Generator().manual_seed(1))
    found = token_errors({"tuned": model, "other": model}, video, mask)
    assert list(found.by_name) == ["tuned", "other", "visible_mean", "same_place"]
    with torch.no_grad():
        reconstructed, out = model.reconstruct(video, mask), model(video, mask)
    truth = video[:, :, model.target_frames()]
    mean, std = (torch.tensor(colours[name]).reshape(3, 1, 1, 1) for name in ("mean", "std"))
    for clip in range(2):
        tokens = mask[clip].nonzero()[:, 0].tolist()
        assert found.masked[clip].tolist() == tokens
        for number, token in enumerate(tokens):
            time, place = divmod(token, grid.space_patches)
            row, column = divmod(place, grid.side)
            for frame in range(grid.tubelet):
                where = (
                    *(clip, slice(None), slice(time * grid.tubelet + frame, time * grid.tubelet + frame + 1)),
                    *(slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)),
                )
                guess, pixels = reconstructed[where], truth[where]
                chance = (guess * std + mean).clamp(1e-6, 1 - 1e-6).double()
                share = (pixels * std + mean).clamp(0, 1).double()
                entropy = -(share * chance.log() + (1 - share) * (1 - chance).log()).mean()
                errors = {name: float(value[clip, number, frame]) for name, value in found.by_name["tuned"].items()}
                assert errors["mse_standardised"] == pytest.approx(float((guess - pixels).square().mean()), rel=1e-3)
                assert errors["bce_pixels"] == pytest.approx(float(entropy), rel=1e-3)
    if target == "pixels":
        assert list(found.by_name["tuned"]) == ["mse_standardised", "bce_pixels"]
        assert float(found.by_name["tuned"]["mse_standardised"].mean()) == pytest.approx(float(out.loss), rel=1e-5)
    else:
        assert float(found.by_name["tuned"]["mse_normalised"].mean()) == pytest.approx(float(out.loss), rel=1e-5)
    assert list(found.by_name["same_place"]) == ["mse_standardised", "bce_pixels"]


@pytest.mark.parametrize("target_frames", [None, 4])
def test_errors_are_those_of_a_loop_over_clips(here, target_frames):
    rng = np.random.default_rng(0)
    toy.write_shards(here, [ToyClip(f"n{n}", rng.integers(0, 255, (20, 64, 64, 3), np.uint8), n) for n in range(35)])
    clips = Clips()
    model = create_model("small_2x8x8", **SHAPE, target_frames=target_frames).eval()
    data = ClipWindows(clips, clips.rows, frames=8, stride=2)
    masking = Masking("random", 0.75)
    masks = masking(35, model.config.grid, torch.Generator().manual_seed(5))
    found = masked_errors(model, data, masking, seed=5)
    frames, time = model.target_frames(), (target_frames or 8) // 4
    expected = {"model": [], "visible_mean": []}
    for clip in range(35):
        video = preprocess(data.even_windows(torch.tensor([clip]), 0, 1), model.config)
        truth = video[:, :, frames]
        with torch.no_grad():
            guess = model.reconstruct(video, masks[clip : clip + 1])
        pixels = masks[clip].reshape(4, 8, 8).repeat_interleave(time, 0)
        pixels = pixels.repeat_interleave(8, 1).repeat_interleave(8, 2)
        mean = truth[0][:, ~pixels].mean(1)
        expected["model"].append(float((guess - truth)[0][:, pixels].square().mean()))
        expected["visible_mean"].append(float((mean[:, None] - truth[0][:, pixels]).square().mean()))
    for name, values in expected.items():
        assert found[name][0] == pytest.approx(np.mean(values), rel=1e-4)
        assert found[name][1] == pytest.approx(1.96 * np.std(values, ddof=1) / math.sqrt(35), rel=1e-3)
    assert found["same_place"][0] > found["visible_mean"][0]  # noise has no scene: fewer patches, a worse mean


def test_the_normalised_target_of_a_flat_tubelet_has_a_finite_error():
    model = create_model("small_2x8x8", **SHAPE, target="per_patch").eval()
    video = torch.zeros(1, 3, 8, 64, 64)
    mask = Masking("random", 0.75)(1, model.config.grid, torch.Generator().manual_seed(1))
    found = token_errors({"model": model}, video, mask).by_name["model"]
    assert all(values.isfinite().all() for values in found.values())
    assert float(found["mse_standardised"].max()) < 1e-3  # the true mean and deviation are given
    assert to_target(patchify(video, 2, 8), "per_patch").abs().max() == 0
