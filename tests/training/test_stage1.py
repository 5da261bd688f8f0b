"""Stage 1's errors against loops over pixels."""

import math

import cv2
import numpy as np
import pytest
import torch

from tests.training import toy
from tests.training.toy import ToyClip
from training import stage1
from training.clips import Clips
from training.data.windows import ClipWindows
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess

SHAPE = {
    **{"num_frames": 12, "image_size": 16, "patch": 8, "dim": 24, "depth": 1, "heads": 2},
    **{"decoder_dim": 16, "decoder_heads": 2, "decoder_depth": 1, "mean": [0.4, 0.5, 0.3], "std": [0.2, 0.3, 0.25]},
}
STRIDE = 2


def network(**changes):
    torch.manual_seed(0)
    return create_model("small_2x8x8", **(SHAPE | changes)).eval()


@pytest.fixture
def data(here):
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 255, (40, 16, 16, 3), np.uint8) for _ in range(35)]
    toy.write_shards(here, [ToyClip(f"n{n}", frames, n) for n, frames in enumerate(drawn)])
    clips = Clips()
    return ClipWindows(clips, clips.rows, frames=12, stride=STRIDE)


def errors_by_loops(model, data, masking, seed):
    """Squared error and cross entropy of each clip's masked pixels, (clips, frames), NaN where a frame has none."""
    config, generator = model.config, torch.Generator().manual_seed(seed)
    shown = model.target_frames().tolist()
    per_patch = len(shown) // config.grid.time_patches
    mean, std = np.array(config.mean), np.array(config.std)
    squared, entropy = np.full((len(data), len(shown)), np.nan), np.full((len(data), len(shown)), np.nan)
    masks = [masking(min(32, len(data) - first), config.grid, generator) for first in range(0, len(data), 32)]
    for clip, mask in enumerate(torch.cat(masks)):
        video = preprocess(data.even_windows(torch.tensor([clip]), 0, 1), config)
        with torch.no_grad():
            filled = model.reconstruct(video, mask[None])[0].numpy()
        for position, frame in enumerate(shown):
            differences, crosses = [], []
            for token in mask.nonzero()[:, 0].tolist():
                if token // 4 != position // per_patch:  # four patches a frame
                    continue
                row, column = token % 4 // 2 * 8, token % 2 * 8
                for y in range(row, row + 8):
                    for x in range(column, column + 8):
                        for colour in range(3):
                            guess, truth = filled[colour, position, y, x], float(video[0, colour, frame, y, x])
                            differences.append((guess - truth) ** 2)
                            p = min(max(guess * std[colour] + mean[colour], 1e-6), 1 - 1e-6)
                            pixel = truth * std[colour] + mean[colour]
                            crosses.append(-pixel * math.log(p) - (1 - pixel) * math.log(1 - p))
            if differences:
                squared[clip, position], entropy[clip, position] = np.mean(differences), np.mean(crosses)
    return squared, entropy


@pytest.mark.parametrize(
    ("changes", "masking"),
    [
        ({}, Masking("random", 0.5)),
        ({"target_frames": 6}, Masking("frame", 0.5)),
        ({"target": "per_patch"}, Masking("tube", 0.75)),
    ],
    ids=["all frames", "half of the frames", "normalised target"],
)
def test_errors_are_means_over_masked_pixels_then_frames_then_clips(data, changes, masking):
    model = network(**changes)
    result = stage1.measure(model, data, masking, seed=3)
    assert result["clips"] == 35
    ticks = [STRIDE * frame + 1 for frame in model.target_frames().tolist()]
    for name, values in zip(("mse_standardised", "bce_pixels"), errors_by_loops(model, data, masking, 3), strict=True):
        by_clip = np.nanmean(values, axis=1)
        assert result[name] == pytest.approx(by_clip.mean(), rel=1e-4)
        assert result[f"{name}_ci95"] == pytest.approx(1.96 * by_clip.std(ddof=1) / math.sqrt(35), rel=1e-3)
        assert list(result[f"{name}_by_tick"]) == ["20"]
        position = max(number for number, tick in enumerate(ticks) if tick <= 20)
        column = values[:, position]
        column = column[~np.isnan(column)]
        assert result[f"{name}_by_tick"]["20"]["mean"] == pytest.approx(column.mean(), rel=1e-4)
        half_width = 1.96 * column.std(ddof=1) / math.sqrt(len(column))
        assert result[f"{name}_by_tick"]["20"]["ci95"] == pytest.approx(half_width, rel=1e-3)


def test_a_perfect_reconstruction_has_no_squared_error(data, monkeypatch):
    model = network()
    monkeypatch.setattr(model, "reconstruct", lambda video, mask: video)
    result = stage1.measure(model, data, Masking("random", 0.5), seed=0)
    assert result["mse_standardised"] == result["mse_standardised_ci95"] == 0


def test_ticks_are_counted_from_the_window_s_first_tick_in_steps_of_twenty(here):
    toy.write_shards(here, [ToyClip(f"n{n}", np.zeros((100, 16, 16, 3), np.uint8), n) for n in range(3)])
    clips = Clips()
    for stride, ticks in ((2, ["20"]), (4, ["20", "40"]), (8, ["20", "40", "60", "80"]), (1, [])):
        data = ClipWindows(clips, clips.rows, frames=12, stride=stride)
        result = stage1.measure(network(), data, Masking("random", 0.5), seed=0)
        assert list(result["mse_standardised_by_tick"]) == ticks


def test_the_training_loss_is_the_error_of_masked_pixels_over_all_pixels(data):
    model = network()
    video = preprocess(data.even_windows(torch.tensor([0, 1]), 0, 1), model.config)
    mask = Masking("random", 0.5)(2, model.config.grid, torch.Generator().manual_seed(0))
    loss = stage1.reconstruction_error(model, video, mask)
    # Visible pixels are kept, so that their error is zero.
    torch.testing.assert_close(loss, (model.reconstruct(video, mask) - video).square().mean())
    assert loss.requires_grad


def test_the_figure_shows_the_original_the_visible_patches_and_the_reconstruction(data):
    model, masking = network(), Masking("random", 0.5)
    figure = stage1.draw_reconstructions(model, data, masking, seed=1)
    assert figure.shape == (9 * 32, 8 * 32, 3)
    assert figure.dtype == np.uint8
    index = torch.tensor([0, 11, 22])
    frames = data.even_windows(index, 0, 1).numpy()
    mask = masking(3, model.config.grid, torch.Generator().manual_seed(1)).reshape(3, 6, 2, 2)
    mean = np.array(model.config.mean) * 255
    for clip in range(3):
        for position in range(8):
            columns = slice(position * 32, (position + 1) * 32)
            original, visible, filled = (
                figure[(3 * clip + row) * 32 : (3 * clip + row + 1) * 32, columns][::2, ::2] for row in range(3)
            )
            assert np.abs(original.astype(int) - frames[clip, position]).max() <= 1
            hidden = mask[clip, position // 2].repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()
            assert (visible[~hidden] == original[~hidden]).all()
            assert np.abs(visible[hidden] - mean).max() <= 1.5 if hidden.any() else True
            assert np.abs(filled[~hidden].astype(int) - original[~hidden]).max(initial=0) <= 1


def test_a_picture_is_written_in_rgb(here):
    stage1.write_png(here / "plots/x.png", np.full((2, 3, 3), (250, 100, 5), np.uint8))
    assert (cv2.imread(str(here / "plots/x.png")) == (5, 100, 250)).all()
