"""Random batches."""

import pytest
import torch
from torch import Generator

from common.errors import ParamError
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames, read_numbers
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.augmentation import Augmentation
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.task import Draw
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.params import ClipAugmentation, LabelledAugmentation

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


def draw(data, config, masking, size, step=0, seed=0, augmentation=None, labels=None, **share):
    """A step's batch; random numbers are drawn by the seed."""
    sampler = BatchSampler(data, config, masking, size, seed=0, buffer=100, augmentation=augmentation, labels=labels)
    return sampler(Draw(step, Generator().manual_seed(seed), **share))


EVERYTHING = LabelledAugmentation(
    crop_scale=(0.5, 1.0), flip=0.5, rand_augment="rand-m7-mstd0.5-inc1", erase=0.5, mixup=0.8, cutmix=1.0
)


def augmented(settings=EVERYTHING):
    return Augmentation(settings, "stage2.finetune_augment", classes=3, label_smoothing=0.1)


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


def test_parts_of_an_augmented_batch_train_on_the_clips_of_the_whole(data, model):
    masking, labels, augmentation = Masking("random", 0.75), torch.arange(3), augmented()

    def mixed(part=0, parts=1):
        batch = draw(data, model.config, masking, 12, augmentation=augmentation, labels=labels, part=part, parts=parts)
        video = augmentation.video(batch.frames, batch.draws, model.config)
        video, target = augmentation.mix(video, batch.labels, batch.draws)
        order = torch.arange(len(video)).view(2, -1)
        order = torch.stack([order[0], order[1].flip(0)], 1).flatten()  # back to that of the draw
        return batch.clips[order], video[order], target[order]

    whole, parts = mixed(), [mixed(part, 3) for part in range(3)]
    for number, value in enumerate(whole):
        torch.testing.assert_close(torch.cat([part[number] for part in parts]), value)
    assert not torch.equal(whole[1], preprocess(data.windows(whole[0], torch.zeros(12).long()), model.config))
    assert (whole[2].amax(1) < 0.93).any()  # 0.933 without mixing


def test_an_odd_part_of_a_batch_cannot_be_mixed(data, model):
    with pytest.raises(ParamError, match="has 3 clips in one: must be an even number"):
        draw(data, model.config, Masking("random", 0.75), 6, augmentation=augmented(), parts=2)


def test_augmentation_changes_neither_clips_nor_windows_nor_masks(data, model):
    masking = Masking("tube", 0.75, 0.5)
    augmentation = Augmentation(ClipAugmentation(crop_scale=(0.5, 1.0), flip=0.5), "pretrain.augment")
    plain, changed = (draw(data, model.config, masking, 6, augmentation=used) for used in (None, augmentation))
    for name in ("clips", "frames", "mask"):
        assert torch.equal(getattr(plain, name), getattr(changed, name))
    assert torch.equal(plain.decoder_split.mask, changed.decoder_split.mask)


def test_without_changes_the_video_is_that_of_the_frames(data, model):
    augmentation = Augmentation(LabelledAugmentation(), "stage2.finetune_augment", classes=3)
    batch = draw(data, model.config, Masking("random", 0.75), 4, augmentation=augmentation, labels=torch.arange(3))
    video = augmentation.video(batch.frames, batch.draws, model.config)
    assert torch.equal(video, preprocess(batch.frames, model.config))
    mixed, target = augmentation.mix(video, batch.labels, batch.draws)
    assert torch.equal(mixed, video)
    assert torch.equal(target, torch.nn.functional.one_hot(batch.clips, 3).float())


def test_clips_with_a_left_or_right_in_their_labels_are_not_flipped(here, model):
    labels = [("vehicle_turning_left",), ("activity_walking", "vehicle_turning_right"), ("Pull",)]
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n), n, labels=given) for n, given in enumerate(labels)])
    clips = Clips()
    data = ClipWindows(clips, clips.rows, frames=4, stride=3)
    augmentation = Augmentation(ClipAugmentation(flip=1.0), "pretrain.augment")
    batch = draw(data, model.config, Masking("random", 0.75), 9, augmentation=augmentation)
    assert torch.equal(batch.draws.clips.flip, batch.clips == 2)


def test_a_policy_that_timm_does_not_know_is_an_error():
    with pytest.raises(ParamError, match=r"stage2\.finetune_augment\.rand_augment is 'rand-x9'"):
        augmented(LabelledAugmentation(rand_augment="rand-x9"))


def test_the_reconstruction_loss_is_of_the_augmented_clips(data, model):
    augmentation = Augmentation(ClipAugmentation(crop_scale=(0.5, 0.5), flip=0.5), "pretrain.augment")
    sampler = BatchSampler(
        data, model.config, Masking("random", 0.75), 4, seed=0, buffer=100, augmentation=augmentation
    )
    task = reconstruction_task(model, sampler)
    batch = task.draw(Draw(0, Generator().manual_seed(3)))
    video = augmentation.video(batch.frames, batch.draws, model.config)
    assert task.compute(batch)["loss"] == model(video, batch.mask).loss
    assert task.compute(batch)["loss"] != model(preprocess(batch.frames, model.config), batch.mask).loss
