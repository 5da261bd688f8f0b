"""Random batches."""

import pytest
import torch
from torch import Generator

from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames, read_numbers
from training.clips import Clips
from training.data.in_memory import InMemoryClips
from training.engine.batches import random_batch, reconstruction_loss
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import unstandardise

SHAPE = {"num_frames": 4, "dim": 24, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_heads": 2, "decoder_depth": 1}


@pytest.fixture
def data(here):
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n, ticks=20), n) for n in range(3)])
    clips = Clips()
    return InMemoryClips(clips, clips.rows, frames=4, stride=3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("small_2x8x8", **SHAPE)


def pixels(video, config):
    """Model input (B, 3, T, S, S) back to uint8 frames (B, T, S, S, 3)."""
    return unstandardise(video, config.mean, config.std).mul(255).round().byte().permute(0, 2, 3, 4, 1).numpy()


def test_a_batch_has_random_clips_windows_and_masks(data, model):
    batch = random_batch(data, model.config, Masking("random", 0.75), 16, Generator().manual_seed(0))
    assert batch.video.shape == (16, 3, 4, 64, 64)
    assert set(batch.clips.tolist()) == {0, 1, 2}
    shown = [read_numbers(window) for window in pixels(batch.video, model.config)]
    assert [numbers[0][0] for numbers in shown] == batch.clips.tolist()
    assert {numbers[0][1] for numbers in shown} == {0, 3, 6, 9}
    assert all([tick - numbers[0][1] for _, tick in numbers] == [0, 3, 6, 9] for numbers in shown)
    assert (batch.mask.sum(1) == 96).all()
    assert len({tuple(mask) for mask in batch.mask.tolist()}) == 16
    assert batch.decoder_mask is None


def test_a_batch_is_standardised_by_the_model_s_own_colours(data):
    config = create_model("small_2x8x8", **SHAPE, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7]).config
    batch = random_batch(data, config, Masking("tube", 0.5), 2, Generator().manual_seed(0))
    black = torch.tensor([-0.1 / 0.5, -0.2 / 0.6, -0.3 / 0.7])
    white = torch.tensor([0.9 / 0.5, 0.8 / 0.6, 0.7 / 0.7])
    for colour in range(3):
        values = batch.video[:, colour]
        assert values.min() == pytest.approx(float(black[colour]), abs=0.02)
        assert values.max() == pytest.approx(float(white[colour]), abs=0.02)


def test_a_batch_is_resized_to_the_model_s_size(data):
    config = create_model("small_2x8x8", **SHAPE, image_size=32).config
    batch = random_batch(data, config, Masking("random", 0.5), 2, Generator().manual_seed(0))
    assert batch.video.shape == (2, 3, 4, 32, 32)
    assert [read_numbers(window)[0][0] for window in pixels(batch.video, config)] == batch.clips.tolist()


def test_a_decoder_mask_comes_with_a_decoder_ratio(data, model):
    batch = random_batch(data, model.config, Masking("tube", 0.9, 0.5), 3, Generator().manual_seed(0))
    assert batch.decoder_mask.shape == batch.mask.shape
    assert (batch.decoder_mask.sum(1) == 64).all()


def test_the_generator_decides_the_batch(data, model):
    masking = Masking("random", 0.75)
    first, again, other = (
        random_batch(data, model.config, masking, 4, Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert all(torch.equal(*parts) for parts in zip(first[:3], again[:3], strict=True))
    assert not torch.equal(first.video, other.video)


@pytest.mark.parametrize("masking", [Masking("random", 0.75), Masking("tube", 0.75, 0.5)])
def test_the_reconstruction_loss_is_the_model_s_on_such_a_batch(data, model, masking):
    found = reconstruction_loss(model, data, masking, 4)(Generator().manual_seed(3))
    batch = random_batch(data, model.config, masking, 4, Generator().manual_seed(3))
    assert found["loss"] == model(batch.video, batch.mask, batch.decoder_mask).loss
    assert found["loss"].requires_grad
