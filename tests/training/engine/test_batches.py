"""Random batches."""

import pytest
import torch
from torch import Generator

from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames, read_numbers
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.loop import Draw
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess

SHAPE = {"num_frames": 4, "dim": 24, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_heads": 2, "decoder_depth": 1}


@pytest.fixture
def data(here):
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n, ticks=20), n) for n in range(3)])
    clips = Clips()
    return ClipWindows(clips, clips.rows, frames=4, stride=3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("small_2x8x8", **SHAPE)


def draw(data, config, masking, size, step=0, seed=0, **share):
    """A step's batch; random numbers are drawn by the seed."""
    sampler = BatchSampler(data, config, masking, size, seed=0, buffer=100)
    return sampler(Draw(step, Generator().manual_seed(seed), **share))


def test_a_batch_has_clips_in_order_with_random_windows_and_masks(data, model):
    batch = draw(data, model.config, Masking("random", 0.75), 18)
    assert batch.frames.shape == (18, 4, 64, 64, 3)
    assert [sorted(batch.clips[first : first + 3].tolist()) for first in range(0, 18, 3)] == [[0, 1, 2]] * 6
    shown = [read_numbers(window) for window in batch.frames.numpy()]
    assert [numbers[0][0] for numbers in shown] == batch.clips.tolist()
    starts = {numbers[0][1] for numbers in shown}
    assert starts <= set(range(11))
    assert len(starts) > 5
    assert all([tick - numbers[0][1] for _, tick in numbers] == [0, 3, 6, 9] for numbers in shown)
    assert (batch.mask.sum(1) == 96).all()
    assert len({tuple(mask) for mask in batch.mask.tolist()}) == 18
    assert batch.decoder_split is None


def test_batches_of_successive_steps_continue_the_order(data, model):
    masking = Masking("random", 0.75)
    steps = [draw(data, model.config, masking, 2, step=step).clips for step in range(3)]
    assert torch.equal(torch.cat(steps), draw(data, model.config, masking, 6).clips)


def test_parts_of_a_batch_together_are_the_batch(data, model):
    masking = Masking("tube", 0.75, 0.5)
    whole = draw(data, model.config, masking, 6)
    parts = [draw(data, model.config, masking, 6, part=part, parts=3) for part in range(3)]
    for name in ("clips", "frames", "mask"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    for name in ("split", "decoder_split"):
        for number, value in enumerate(getattr(whole, name)):
            assert torch.equal(torch.cat([getattr(part, name)[number] for part in parts]), value)


def test_a_decoder_mask_comes_with_a_decoder_ratio(data, model):
    batch = draw(data, model.config, Masking("tube", 0.9, 0.5), 3)
    assert batch.decoder_split.mask.shape == batch.mask.shape
    assert (batch.decoder_split.mask.sum(1) == 64).all()


def test_the_generator_decides_windows_and_masks(data, model):
    masking = Masking("random", 0.75)
    first, again, other = (draw(data, model.config, masking, 4, seed=seed) for seed in (1, 1, 2))
    for name in ("clips", "frames", "mask"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.mask, other.mask)


def test_a_batch_names_its_clips(data, model):
    sampler = BatchSampler(data, model.config, Masking("random", 0.75), 4, seed=0, buffer=100)
    batch = sampler(Draw(0, Generator()))
    assert sampler.names(batch) == [f"n{position}" for position in batch.clips.tolist()]


@pytest.mark.parametrize("masking", [Masking("random", 0.75), Masking("tube", 0.75, 0.5)])
def test_the_reconstruction_loss_is_the_model_s_on_such_a_batch(data, model, masking):
    sampler = BatchSampler(data, model.config, masking, 4, seed=0, buffer=100)
    task = reconstruction_task(model, sampler)
    batch = task.draw(Draw(0, Generator().manual_seed(3)))
    found = task.compute(batch)
    video = preprocess(batch.frames, model.config)
    assert (
        found["loss"]
        == model(video, batch.mask, None if batch.decoder_split is None else batch.decoder_split.mask).loss
    )
    assert found["loss"].requires_grad
