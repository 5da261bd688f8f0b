"""Errors over whole clips against loops over windows, ticks and clips."""

import math

import numpy as np
import pytest
import torch

from tests.training import toy
from tests.training.toy import ToyClip
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.clip_errors import ClipErrors, even_clips, measure, results
from training.engine.tiling import tile_starts
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.tubelets import upsample_mask

SHAPE = {
    **{"num_frames": 12, "image_size": 16, "patch": 8, "dim": 24, "depth": 1, "heads": 2},
    **{"decoder_dim": 16, "decoder_heads": 2, "decoder_depth": 1, "mean": [0.4, 0.5, 0.3], "std": [0.2, 0.3, 0.25]},
}
STRIDE, TICKS = 2, 50
VALID = [50, 50, 41, 30, 21, 12, 50]  # the last clips are shorter than a window, which spans 23 ticks


def network(seed=0, **changes):
    torch.manual_seed(seed)
    return create_model("small_2x8x8", **(SHAPE | changes)).eval()


@pytest.fixture
def data(here):
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 255, (TICKS, 16, 16, 3), np.uint8) for _ in VALID]
    clips = [ToyClip(f"n{n}", frames, n, valid_frames=VALID[n]) for n, frames in enumerate(drawn)]
    toy.write_shards(here, clips)
    clips = Clips()
    return ClipWindows(clips, clips.rows, frames=12, stride=STRIDE)


def ticks_by_loops(model, data, masking, seed):
    """Squared errors of each clip's ticks, (clips, ticks), NaN where none is measured: one window at a time."""
    generator = torch.Generator().manual_seed(seed)
    shown = model.target_frames().tolist()
    seen = [[[] for _ in range(TICKS)] for _ in VALID]
    for clip, valid in enumerate(VALID):
        for start in tile_starts(shown, STRIDE, valid, TICKS):
            mask = masking(1, model.config.grid, generator)
            video = preprocess(data.windows(torch.tensor([clip]), torch.tensor([start])), model.config)
            with torch.no_grad():
                guess = model.reconstruct(video, mask)
            pixels = upsample_mask(mask, model.config.target_grid).expand_as(guess)
            for number, frame in enumerate(shown):
                tick = start + frame * STRIDE
                masked = pixels[0, :, number]
                if tick < valid and masked.any():
                    errors = (guess[0, :, number] - video[0, :, frame])[masked].square()
                    seen[clip][tick].append(float(errors.mean()))
    return np.array([[np.mean(values) if values else math.nan for values in row] for row in seen])


@pytest.mark.parametrize(
    ("changes", "masking"),
    [
        ({}, Masking("random", 0.5)),
        ({"target_frames": 6}, Masking("frame", 0.5)),
        ({"target": "per_patch"}, Masking("tube", 0.75)),
    ],
    ids=["all frames", "half of the frames", "normalised target"],
)
def test_errors_are_means_over_masked_pixels_then_windows_then_ticks_then_clips(data, changes, masking):
    model = network(**changes)
    errors = measure({"fine_tuned": model}, data, torch.arange(7), TICKS, masking, seed=3)
    expected = ticks_by_loops(model, data, masking, 3)
    found = errors.by_tick("fine_tuned", "mse_standardised").numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    fields, by_clip = errors.fields("fine_tuned"), np.nanmean(expected, 1)
    assert fields["clips"] == 7
    assert fields["mse_standardised"] == pytest.approx(by_clip.mean(), rel=1e-4)
    assert fields["mse_standardised_ci95"] == pytest.approx(1.96 * by_clip.std(ddof=1) / math.sqrt(7), rel=1e-3)
    for tick, values in fields["mse_standardised_by_tick"].items():
        column = expected[:, int(tick) - 1]
        column = column[~np.isnan(column)]
        assert values["clips"] == len(column)
        assert values["mean"] == pytest.approx(column.mean(), rel=1e-3)
        assert values["ci95"] == pytest.approx(1.96 * column.std(ddof=1) / math.sqrt(len(column)), rel=1e-3)
    assert {"20", "40"} == set(fields["mse_standardised_by_tick"])


def test_padding_counts_for_nothing(data):
    errors = measure({"fine_tuned": network()}, data, torch.arange(7), TICKS, Masking("tube", 0.75), seed=0)
    for name in ("fine_tuned", "visible_mean", "same_place"):
        measured = ~errors.by_tick(name, "bce_pixels").isnan()
        assert measured.sum(1).tolist() == VALID
        assert all(measured[clip, :valid].all() for clip, valid in enumerate(VALID))


def test_all_models_are_measured_by_the_same_masks(data):
    masking = Masking("random", 0.5)
    both = measure({"baseline": network(0), "fine_tuned": network(1)}, data, torch.arange(7), TICKS, masking, seed=0)
    alone = measure({"fine_tuned": network(1)}, data, torch.arange(7), TICKS, masking, seed=0)
    assert both.fields("fine_tuned") == alone.fields("fine_tuned")
    found = results(both)
    assert list(found) == ["fine_tuned", "baseline", "controls", "paired"]
    assert found["controls"]["same_place"] == alone.fields("same_place")
    differences = both.by_clip("baseline", "bce_pixels") - both.by_clip("fine_tuned", "bce_pixels")
    pair = found["paired"]["bce_pixels"]
    assert pair["mean"] == pytest.approx(found["baseline"]["bce_pixels"] - found["fine_tuned"]["bce_pixels"])
    assert pair["ci95"] == pytest.approx(1.96 * float(differences.std()) / math.sqrt(7))
    assert pair["ci95"] < found["baseline"]["bce_pixels_ci95"]  # the same clips: their differences vary less


def test_ticks_of_several_windows_are_averaged_and_frames_without_masked_pixels_left_out():
    errors = ClipErrors(torch.tensor([3, 2]), ticks=4)
    nan = math.nan
    errors.add(
        "m",
        "loss",
        torch.tensor([0, 0, 1]),
        torch.tensor([[0, 1], [1, 2], [1, 3]]),
        torch.tensor([[1.0, 2], [4, nan], [8, 9]]),
    )
    assert torch.equal(
        errors.by_tick("m", "loss").nan_to_num(-1),
        torch.tensor([[1.0, 3, -1, -1], [-1, 8, -1, -1]], dtype=torch.float64),
    )
    assert errors.by_clip("m", "loss").tolist() == [2.0, 8.0]
    assert errors.fields("m") == {"clips": 2, "loss": 5.0, "loss_ci95": pytest.approx(5.88), "loss_by_tick": {}}


def test_ticks_that_only_one_clip_reaches_have_no_interval():
    errors = ClipErrors(torch.tensor([20, 40]), ticks=60)
    errors.add("m", "loss", torch.tensor([0, 1]), torch.tensor([[19, 39], [19, 39]]), torch.ones(2, 2))
    by_tick = errors.fields("m")["loss_by_tick"]
    assert by_tick["20"] == {"mean": 1.0, "ci95": 0.0, "clips": 2}
    assert by_tick["40"] == {"mean": 1.0, "ci95": math.inf, "clips": 1}
    assert "60" not in by_tick


def test_measured_clips_are_evenly_spread(data):
    assert even_clips(data, 2).tolist() == [1, 5]
    assert even_clips(data, None).tolist() == even_clips(data, 9).tolist() == list(range(7))
