"""From uint8 frames to model input: values, order of axes, size, and the inverse."""

import cv2
import numpy as np
import pytest
import torch

from tests.training.models.tiny import autoencoder
from training.models import create_model
from training.models.preprocess import preprocess, standardise, unstandardise
from training.models.presets import PRESETS

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_frames(height: int = 64, width: int = 64, batch: int = 2, times: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (batch, times, height, width, 3), generator=torch.Generator().manual_seed(0)).byte()


def config(**overrides: object):
    return autoencoder(**({"mean": MEAN, "std": STD} | overrides)).config


def resized_by_opencv(frames: torch.Tensor, size: int, interpolation: int) -> np.ndarray:
    """(B, T, H, W, 3) uint8 -> (B, T, size, size, 3) float in [0, 1]"""
    images = frames.numpy().astype(np.float32).reshape(-1, *frames.shape[2:]) / 255
    resized = [cv2.resize(image, (size, size), interpolation=interpolation) for image in images]
    return np.stack(resized).reshape(*frames.shape[:2], size, size, 3)


def test_frames_are_scaled_standardised_and_colours_come_first():
    frames = random_frames()
    video = preprocess(frames, config())
    assert video.dtype == torch.float32
    expected = (frames.numpy() / 255 - MEAN) / STD
    np.testing.assert_allclose(video.numpy(), np.moveaxis(expected, 4, 1), atol=1e-5)


def test_one_pixel_by_hand():
    frames = torch.zeros(1, 8, 64, 64, 3, dtype=torch.uint8)
    frames[0, 5, 10, 20] = torch.tensor([255, 0, 51])
    video = preprocess(frames, config(mean=[0.5, 0.25, 0.2], std=[0.25, 0.5, 0.1]))
    assert video[0, :, 5, 10, 20].tolist() == pytest.approx([2.0, -0.5, 0.0], abs=1e-6)


@pytest.mark.parametrize("name", PRESETS)
def test_each_model_uses_its_own_mean_std_and_size(name):
    with torch.device("meta"):
        settings = create_model(name).config
    frames = random_frames(batch=1, times=1)
    video = preprocess(frames, settings)
    assert video.shape == (1, 3, 1, settings.image_size, settings.image_size)
    back = unstandardise(video, settings.mean, settings.std)
    assert back.min() >= -1e-5
    assert back.max() <= 1 + 1e-5
    assert float(back.mean()) == pytest.approx(float(frames.float().mean()) / 255, abs=2e-3)


def test_videomae_and_mae_st_differ_in_normalisation():
    assert PRESETS["videomae_base"].mean == MEAN
    assert PRESETS["videomae_base"].std == STD
    assert PRESETS["mae_st_large"].mean == (0.45, 0.45, 0.45)
    assert PRESETS["mae_st_large"].std == (0.225, 0.225, 0.225)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (256, 128), (64, 192)])
def test_larger_frames_shrink_by_area(height, width):
    frames = random_frames(height, width, times=2)
    found = unstandardise(preprocess(frames, config()), MEAN, STD)
    expected = resized_by_opencv(frames, 64, cv2.INTER_AREA)
    np.testing.assert_allclose(found.permute(0, 2, 3, 4, 1).numpy(), expected, atol=1e-5)


def test_a_2x2_mean_by_hand():
    frames = torch.zeros(1, 8, 128, 128, 3, dtype=torch.uint8)
    frames[0, 0, :2, :2, 0] = torch.tensor([[255, 51], [0, 102]])
    found = unstandardise(preprocess(frames, config()), MEAN, STD)
    assert found[0, 0, 0, 0, 0].item() == pytest.approx((1 + 0.2 + 0 + 0.4) / 4, abs=1e-6)


@pytest.mark.parametrize("size", [32, 40])
def test_smaller_frames_grow_bilinearly(size):
    frames = random_frames(size, size, times=2)
    found = unstandardise(preprocess(frames, config()), MEAN, STD)
    expected = resized_by_opencv(frames, 64, cv2.INTER_LINEAR)
    np.testing.assert_allclose(found.permute(0, 2, 3, 4, 1).numpy(), expected, atol=1e-4)


def test_frames_of_the_right_size_are_not_resized():
    stripes = torch.zeros(1, 8, 64, 64, 3, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    found = unstandardise(preprocess(stripes, config()), MEAN, STD)
    assert set(found[0, 0, 0, :, 0].round(decimals=4).abs().tolist()) == {0.0, 1.0}


def test_time_is_not_resampled_and_clips_are_not_mixed():
    frames = torch.arange(16, dtype=torch.uint8).reshape(2, 8, 1, 1, 1).expand(2, 8, 128, 128, 3)
    found = unstandardise(preprocess(frames, config()), MEAN, STD) * 255
    assert torch.allclose(found[:, 0, :, 0, 0], torch.arange(16.0).reshape(2, 8), atol=1e-3)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(2, 8, 64, 64, 3), r"frames are \(2, 8, 64, 64, 3\) torch.float32"),
        (torch.zeros(8, 64, 64, 3, dtype=torch.uint8), r"must be \(B, T, H, W, 3\) torch.uint8"),
        (torch.zeros(2, 3, 8, 64, 64, dtype=torch.uint8), r"frames are \(2, 3, 8, 64, 64\)"),
    ],
)
def test_frames_of_another_shape_or_type_are_an_error(frames, message):
    with pytest.raises(ValueError, match=message):
        preprocess(frames, config())


def test_unstandardise_inverts_standardise():
    video = torch.rand(2, 3, 4, 8, 8)
    assert torch.allclose(unstandardise(standardise(video, MEAN, STD), MEAN, STD), video, atol=1e-6)


def test_standardised_video_has_mean_0_and_deviation_1_if_the_colours_have_mean_and_std():
    noise = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    video = noise * torch.tensor(STD).view(1, 3, 1, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1, 1)
    found = standardise(video, MEAN, STD)
    assert torch.allclose(found.mean((0, 2, 3, 4)), torch.zeros(3), atol=0.02)
    assert torch.allclose(found.std((0, 2, 3, 4)), torch.ones(3), atol=0.02)


def test_precision_is_kept():
    video = torch.rand(1, 3, 2, 4, 4, dtype=torch.float64)
    assert standardise(video, MEAN, STD).dtype == torch.float64
