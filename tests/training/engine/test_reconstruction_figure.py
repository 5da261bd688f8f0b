"""Stage 1's figure: originals, masked frames and reconstructions in their places."""

import numpy as np
import pytest

from tests.training import toy
from tests.training.models.tiny import autoencoder
from tests.training.toy import ToyClip
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.figures import CELL, GAP, LEFT, SPACE, TITLE, TOP
from training.engine.reconstruction_figure import draw_reconstructions
from training.models.masking import Masking

VALID = (100, 100, 50, 15)
PITCH = CELL + SPACE


@pytest.fixture
def data(here):
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 255, (100, 64, 64, 3), np.uint8) for _ in VALID]
    clips = [ToyClip(f"n{n}", frames, n, valid_frames=VALID[n]) for n, frames in enumerate(drawn)]
    toy.write_shards(here, clips, suffix=".webp")
    clips = Clips()
    return ClipWindows(clips, clips.rows, frames=8, stride=2), [clips.frames(row.clip_id) for row in clips.rows]


def test_rows_show_the_clip_s_own_ticks_as_they_are_masked_and_reconstructed(data):
    windows, frames = data
    models = {"baseline": autoencoder().eval(), "fine_tuned": autoencoder().eval()}
    figure = draw_reconstructions(models, windows, 100, Masking("random", 0.75), seed=1)
    width, height = GAP + LEFT + 5 * PITCH, GAP + TITLE + TOP + 4 * PITCH
    assert figure.shape == (2 * height + GAP, 2 * width + GAP, 3)
    for clip, valid in enumerate(VALID):
        for column, tick in enumerate((20, 40, 60, 80, 100)):
            top, left = clip // 2 * height + GAP + TITLE + TOP, clip % 2 * width + GAP + LEFT + column * PITCH
            original, masked, *filled = (
                figure[top + row * PITCH :, left : left + CELL][:CELL][::2, ::2].astype(int) for row in range(4)
            )
            if tick > valid:
                assert len(np.unique(np.stack([original, masked, *filled]))) == 1
                continue
            assert np.abs(original - frames[clip][tick - 1]).max() <= 1
            patches = np.abs(masked - original).reshape(8, 8, 8, 8, 3).max((1, 3, 4)) > 1
            assert 0.5 < patches.mean() < 1
            hidden = patches.repeat(8, 0).repeat(8, 1)
            assert np.abs(masked[hidden] - 0.45 * 255).max() <= 1
            for guess in filled:
                assert np.abs(guess - original)[~hidden].max() <= 1
                assert np.abs(guess - original)[hidden].mean() > 10  # an untrained model's


def test_a_model_that_predicts_half_of_the_frames_has_a_figure(data):
    windows, frames = data
    model = autoencoder(target_frames=4).eval()
    figure = draw_reconstructions({"baseline": model}, windows, 100, Masking("random", 0.75), seed=1)
    shown = figure[GAP + TITLE + TOP :, GAP + LEFT :][:CELL, :CELL][::2, ::2].astype(int)
    assert np.abs(shown - frames[0][19]).max() <= 1


def test_clips_shorter_than_twenty_ticks_have_empty_panels(data):
    windows, _ = data
    model = autoencoder().eval()
    figure = draw_reconstructions({"baseline": model}, windows, 19, Masking("random", 0.75), seed=1)
    assert figure.shape[1] == 2 * (GAP + LEFT) + GAP
