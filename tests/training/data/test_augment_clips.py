"""All changes of uint8 clips together: the same for a seed, in all frames, on each way of computing them."""

from contextlib import nullcontext

import pytest
import torch
from torch import Generator

from tests.training.data.augment_images import differences, scene_clips
from training.data.augment import Augment, AugmentConfig, Mixup, RandomErasing, directional

STRONG = AugmentConfig(rand_augment="rand-m7-n3-p1-mstd0.5-inc1")


def test_shape_and_dtype_are_kept_and_a_seed_decides_the_result():
    clips, augment = scene_clips(4, 3, 32, 48), Augment(AugmentConfig())
    first, again, other = (augment(clips, Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == clips.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_frames_of_a_clip_are_changed_alike():
    still = scene_clips(12, 1).expand(-1, 4, -1, -1, -1)
    changed = Augment(STRONG)(still, Generator().manual_seed(0))
    assert torch.equal(changed, changed[:, :1].expand_as(changed))
    assert (changed != still).flatten(1).any(1).all()


def test_clips_are_not_changed_in_place():
    clips = scene_clips()
    Augment(STRONG)(clips, Generator().manual_seed(0))
    assert torch.equal(clips, scene_clips())


@pytest.mark.parametrize("crop", [None, (1.0, 1.0)], ids=["flip alone", "in the crop"])
def test_half_of_the_clips_are_flipped_but_none_of_a_directional_class(crop):
    clips = scene_clips(200, 1, 16, 16)
    augment = Augment(AugmentConfig(crop, (1.0, 1.0), rand_augment=None))
    changed = augment(clips, Generator().manual_seed(0), torch.arange(200) < 100)
    mirrored = (changed == clips.flip(3)).flatten(1).all(1)
    assert torch.equal(changed[~mirrored], clips[~mirrored])
    assert not mirrored[:100].any()
    assert 35 < mirrored[100:].sum() < 65


def test_classes_with_a_left_or_right_are_directional():
    names = ["vehicle_turning_left", "SwipeRight", "rotating anticlockwise", "15_CW_Rotation", "Turning something left"]
    assert directional(names).all()
    assert not directional(["bright lights", "cleft", "Upright", "pull ups", "Swiping_Up", "copyrighting", ""]).any()


def test_nothing_is_changed_where_all_is_off():
    clips = scene_clips()
    assert torch.equal(Augment(AugmentConfig(None, flip=0.0, rand_augment=None))(clips, Generator()), clips)


def test_computing_all_clips_and_selecting_equals_computing_the_chosen_clips(monkeypatch):
    clips, augment = scene_clips(40, 2, 24, 24), Augment(STRONG)
    draws = augment.draw(clips, Generator().manual_seed(0))
    chosen = augment.apply(clips, draws)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(augment.apply(clips, draws), chosen)


def test_no_value_is_read_on_the_host(monkeypatch):
    """On the meta device tensors have no values: reading one is an error."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # is not for the meta device
    clips = scene_clips(4).to("meta")
    augment, erase, mixup = Augment(STRONG), RandomErasing(0.5), Mixup(5, mode="elem")
    generator = Generator().manual_seed(0)

    def to_meta(draws):
        return type(draws)(
            *(to_meta(part) if isinstance(part, tuple) else part if part is None else part.to("meta") for part in draws)
        )

    changed = augment.apply(clips, to_meta(augment.draw(clips, generator)))
    video = changed.permute(0, 4, 1, 2, 3) / 255
    video = erase.apply(video, to_meta(erase.draw(video.shape, generator)))
    labels = torch.zeros(4, dtype=torch.long, device="meta")
    mixed, target = mixup.apply(video, labels, to_meta(mixup.draw(video.shape, generator)))
    assert mixed.shape == (4, 3, 2, 64, 64)
    assert target.shape == (4, 5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_equals_eager():
    clips, generator = scene_clips(8, 2), Generator().manual_seed(0)
    augment, erase, mixup = Augment(STRONG), RandomErasing(0.5), Mixup(5, mode="elem")
    labels = torch.arange(8) % 5

    def step(clips, changes, erasing, mixing):
        changed = augment.apply(clips, changes)
        video = changed.permute(0, 4, 1, 2, 3) / 255
        return changed, *mixup.apply(erase.apply(video, erasing), labels, mixing)

    compiled = torch.compile(step, fullgraph=True)
    for _ in range(3):
        video_shape = torch.Size((8, 3, 2, 64, 64))
        draws = augment.draw(clips, generator), erase.draw(video_shape, generator), mixup.draw(video_shape, generator)
        (
            (changed, video, target),
            (expected, *_),
        ) = compiled(clips, *draws), step(clips, *draws)
        # Fused multiplication and addition rounds once: a level next to a border may be another one, and later
        # operations may widen the difference.
        assert (differences(changed, expected) > 1).float().mean() < 0.001
        assert (differences(changed, expected) > 0).float().mean() < 0.01
        erased = erase.apply(changed.permute(0, 4, 1, 2, 3) / 255, draws[1])
        again = mixup.apply(erased, labels, draws[2])
        torch.testing.assert_close(video, again[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(target, again[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_scale": (0.9, 0.5)}, "crop_scale is"),
        ({"crop_scale": (0.5, 1.5)}, "crop_scale is"),
        ({"crop_ratio": (0.0, 1.0)}, "crop_ratio is"),
        ({"flip": 1.5}, "flip is 1.5: must be from 0 to 1"),
    ],
)
def test_values_out_of_bounds_are_value_errors(change, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**change)


def test_clips_of_another_shape_or_dtype_are_a_value_error():
    augment = Augment(AugmentConfig())
    for clips in (torch.zeros(2, 3, 4, 16, 16, dtype=torch.uint8), torch.zeros(2, 4, 16, 16, 3)):
        with pytest.raises(ValueError, match=r"must be \(B, T, H, W, 3\) torch.uint8"):
            augment.apply(clips, augment.draw(scene_clips(2), Generator()))
