"""Each of RandAugment's operations against timm's on every frame as a PIL image."""

import pytest
import torch
from timm.data import auto_augment
from timm.data.transforms import str_to_pil_interp
from torch import Generator

from tests.training.data.augment_images import UniformRandom, differences, map_frames, noise_clips, scene_clips
from training.data.augment.rand_augment import _OPERATIONS, RandAugment, RandAugmentDraws, apply_operation

WARPS = ["Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"]
LEVELS = [0.0, 1.3, 5.0, 6.8, 7.4, 9.5]
FILL = (128, 100, 30)


def timms(clips, name, level, negative, bicubic):
    """All frames changed by timm's function, with its own argument for the level and sign."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto_augment, "random", UniformRandom([0.9 if negative else 0.1]))
        to_argument = auto_augment.LEVEL_TO_ARG[name]
        arguments = to_argument(level, {}) if to_argument else ()
    resample = str_to_pil_interp("bicubic" if bicubic else "bilinear")
    operation = auto_augment.NAME_TO_OP[name]
    return map_frames(clips, lambda image, _: operation(image, *arguments, fillcolor=FILL, resample=resample))


def ours(clips, name, level, negative, bicubic):
    policy = RandAugment("rand-n1-inc1" if name in RandAugment("rand-n1-inc1").names else "rand-n1", fill=FILL)
    batch = (len(clips), 1)
    draws = RandAugmentDraws(
        torch.full(batch, policy.names.index(name)),
        torch.full(batch, level),
        torch.full(batch, -1.0 if negative else 1.0),
        torch.full(batch, bicubic),
    )
    return policy.apply(clips.permute(0, 1, 4, 2, 3), draws).permute(0, 1, 3, 4, 2)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [name for name in _OPERATIONS if name not in WARPS])
def test_operation_on_colours_equals_timms(name, level):
    if name == "Posterize" and level < 2.5:
        pytest.skip("Pillow does not posterize to 0 bits")
    for clips in (noise_clips(), scene_clips(), scene_clips(height=24, width=40)):
        for negative in (False, True):
            error = differences(ours(clips, name, level, negative, False), timms(clips, name, level, negative, False))
            assert error.max() <= (1 if name == "AutoContrast" else 0)  # see the test of AutoContrast below


@pytest.mark.parametrize("bicubic", [False, True], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", WARPS)
def test_warp_equals_timms_but_for_float32(name, level, bicubic):
    # Pillow truncates sums of float64: where they are close to a whole level, as a fifth of them is when the shift is of
    # whole fifths of a pixel, float32 may give the next one.
    for clips in (noise_clips(), scene_clips(), scene_clips(height=24, width=40)):
        for negative in (False, True):
            error = differences(
                ours(clips, name, level, negative, bicubic), timms(clips, name, level, negative, bicubic)
            )
            assert error.max() <= 1
            assert (error > 0).float().mean() < 0.1


@pytest.mark.parametrize("name", _OPERATIONS)
def test_frames_of_one_level_equal_timms(name):
    clips = torch.full((1, 2, 16, 16, 3), 200, dtype=torch.uint8)
    assert torch.equal(ours(clips, name, 7.0, False, True), timms(clips, name, 7.0, False, True))


def test_auto_contrast_is_the_exact_quotient_where_pillow_may_be_a_level_lower():
    """Pillow truncates the rounded float64 quotient, which may be a little below a whole number."""
    for low in range(0, 250, 7):
        for high in range(low + 1, 256, 5):
            levels = torch.arange(low, high + 1, dtype=torch.uint8)
            clips = levels[None, None, None, :, None].expand(1, 1, 2, -1, 3).contiguous()
            exact = (levels.int() - low) * 255 // (high - low)
            assert torch.equal(ours(clips, "AutoContrast", 7.0, False, False)[0, 0, 0, :, 0].int(), exact)
            lower = exact - timms(clips, "AutoContrast", 7.0, False, False)[0, 0, 0, :, 0].int()
            assert set(lower.tolist()) <= {0, 1}


def test_posterize_to_no_bits_is_black():
    assert not ours(noise_clips(), "PosterizeIncreasing", 10.0, False, False).any()


def test_clips_of_a_batch_get_their_own_operations():
    clips, names = scene_clips(4), ["Equalize", "Rotate", "ColorIncreasing", "SharpnessIncreasing"]
    policy = RandAugment("rand-n1-inc1", fill=FILL)
    choice = torch.tensor([[policy.names.index(name)] for name in names])
    level, sign = torch.full((4, 1), 7.0), torch.ones(4, 1)
    draws = RandAugmentDraws(choice, level, sign, torch.ones(4, 1, dtype=torch.bool))
    changed = policy.apply(clips.permute(0, 1, 4, 2, 3), draws).permute(0, 1, 3, 4, 2)
    for number, name in enumerate(names):
        alone = ours(clips[number : number + 1], name, 7.0, False, True)
        assert torch.equal(changed[number : number + 1], alone)


def test_operation_0_changes_nothing():
    planes = noise_clips().permute(0, 1, 4, 2, 3)
    none = torch.zeros(3)
    assert torch.equal(apply_operation(planes, none.long(), none, none.bool(), FILL), planes)


def test_operations_are_chosen_with_equal_chances_and_applied_in_half_of_the_cases():
    policy = RandAugment("rand-m7-mstd0.5-inc1")
    draws = policy.draw(60_000, Generator().manual_seed(0))
    assert policy.names == tuple(auto_augment._RAND_INCREASING_TRANSFORMS)
    shares = torch.stack([torch.bincount(choice + 1, minlength=16) / 60_000 for choice in draws.choice.unbind(1)])
    torch.testing.assert_close(shares[:, 0], torch.full((2,), 0.5), atol=0.01, rtol=0)  # 5 standard errors
    torch.testing.assert_close(shares[:, 1:], torch.full((2, 15), 0.5 / 15), atol=0.0037, rtol=0)
    both = (draws.choice >= 0).all(1).float().mean()
    assert both == pytest.approx(0.25, abs=0.009)
    assert draws.sign.mean() == pytest.approx(0, abs=0.015)
    assert draws.bicubic.float().mean() == pytest.approx(0.5, abs=0.0075)


def test_magnitudes_are_normal_about_7_and_cut_to_10():
    level = RandAugment("rand-m7-mstd0.5-inc1").draw(50_000, Generator().manual_seed(0)).level
    assert level.mean() == pytest.approx(7, abs=0.01)
    assert level.std() == pytest.approx(0.5, abs=0.01)
    assert RandAugment("rand-m10-mstd2").draw(1000, Generator().manual_seed(0)).level.max() == 10
    assert RandAugment("rand-m10-mstd2-mmax20").draw(1000, Generator().manual_seed(0)).level.max() > 14


def test_other_keys_of_timms_config():
    generator = Generator().manual_seed(0)
    assert RandAugment("rand-n3").draw(5, generator).choice.shape == (5, 3)
    assert (RandAugment("rand-p1").draw(100, generator).choice >= 0).all()
    assert (RandAugment("rand-m9").draw(100, generator).level == 9).all()
    uniform = RandAugment("rand-m8-mstd101").draw(20_000, generator).level
    assert uniform.min() < 0.01
    assert uniform.max() == pytest.approx(8, abs=0.01)
    assert uniform.mean() == pytest.approx(4, abs=0.1)
    assert RandAugment("rand-m9", interpolation="bicubic").draw(9, generator).bicubic.all()
    assert not RandAugment("rand-m9", interpolation="bilinear").draw(9, generator).bicubic.any()


@pytest.mark.parametrize("config", ["augmix-m3", "rand-x7", "rand-mstdbig1.2.3", "rand-m7-t3a", "rand-tweights"])
def test_a_config_that_cannot_be_followed_is_a_value_error(config):
    with pytest.raises(ValueError, match="rand_augment is"):
        RandAugment(config)
