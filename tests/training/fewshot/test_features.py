"""Features of a frozen encoder, against loops."""

import numpy as np
import pytest
import torch

from common.errors import WorkError
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames
from training.clips import Clips
from training.data.windows import ClipWindows
from training.fewshot.features import FeatureShape, extract, feature_shape, temporal_change
from training.models import create_model
from training.models.preprocess import preprocess

SHAPE = {"num_frames": 6, "dim": 8, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_heads": 2, "decoder_depth": 1}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("small_2x8x8", **SHAPE).eval()


@pytest.fixture
def data(here):
    """35 clips, more than one batch."""
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n, ticks=20), n) for n in range(35)])
    clips = Clips()
    return ClipWindows(clips, clips.rows, frames=6, stride=2)


def expected(model, data, clip, number, of, grid):
    """Features of one window by loops: (times, grid * grid, D)."""
    with torch.no_grad():
        video = preprocess(data.even_windows(torch.tensor([clip]), number, of), model.config)
        tokens = model.encode(video)[0].numpy().reshape(3, 8, 8, 8)  # times, rows, columns, D
    block = 8 // grid
    pooled = np.array(
        [
            [
                time[row * block : (row + 1) * block, column * block : (column + 1) * block].mean((0, 1))
                for row in range(grid)
                for column in range(grid)
            ]
            for time in tokens
        ]
    )
    change = pooled - pooled.mean(axis=0)
    return change / change.std(ddof=1)


@pytest.mark.parametrize("grid", [1, 2, 4])
def test_features_are_pooled_tokens_less_their_mean_over_time(model, data, grid):
    features = extract(model, data, windows=2, grid=grid)
    assert features.shape == (35, 2, 3, grid * grid, 8)
    assert feature_shape(model.config, grid) == FeatureShape(3, grid, 8)
    assert features.dtype == torch.float16
    for clip, number in ((0, 0), (7, 1), (34, 1)):
        np.testing.assert_allclose(features[clip, number], expected(model, data, clip, number, 2, grid), atol=5e-3)


def test_mean_features_are_the_mean_of_all_tokens_of_a_window(model, data):
    features = extract(model, data, windows=2, grid=2, kind="mean")
    assert features.shape == (35, 2, 1, 1, 8)
    assert feature_shape(model.config, 2, "mean") == FeatureShape(1, 1, 8)
    for clip, number in ((0, 0), (34, 1)):
        with torch.no_grad():
            video = preprocess(data.even_windows(torch.tensor([clip]), number, 2), model.config)
            tokens = model.encode(video)[0].numpy()
        np.testing.assert_allclose(features[clip, number, 0, 0], tokens.mean(axis=0), atol=2e-3)


def test_a_grid_finer_than_the_encoder_s_keeps_every_place(model, data):
    assert extract(model, data, windows=1, grid=50).shape == (35, 1, 3, 8 * 8, 8)
    assert feature_shape(model.config, 50) == FeatureShape(3, 8, 8)


def test_features_that_do_not_change_over_time_are_removed():
    torch.manual_seed(0)
    moving, still = torch.randn(2, 5, 4, 7), torch.randn(2, 1, 4, 7)
    torch.testing.assert_close(temporal_change(moving + 3 * still), temporal_change(moving))


def test_the_strength_of_change_is_removed():
    moving = torch.randn(2, 5, 4, 7)
    torch.testing.assert_close(temporal_change(100 * moving), temporal_change(moving))
    assert temporal_change(moving).std((1, 2, 3)).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


def test_a_clip_that_never_changes_has_zero_features():
    assert not temporal_change(torch.ones(1, 4, 2, 6)).any()


def test_extraction_needs_no_gradients_and_leaves_the_model_in_eval_mode(model, data):
    model.train()
    assert not extract(model, data, windows=1, grid=1).requires_grad
    assert not model.training


def test_a_clip_whose_features_are_not_finite_is_named(model, data):
    good = model.encode

    def encode(video):
        tokens = good(video)
        if encode.calls == 3:  # the second window of the second batch, which begins with clip 32
            tokens[1] = float("nan")
        encode.calls += 1
        return tokens

    encode.calls = 0
    model.encode = encode
    with pytest.raises(WorkError, match="features of clip n33 are not finite"):
        extract(model, data, windows=2, grid=2)
