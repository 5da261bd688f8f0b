"""Shifted Patch Tokenization: the shifts, the projection, and no leak of masked pixels."""

import pytest
import torch
from torch import Generator

from tests.training.models.tiny import autoencoder, random_video
from training.models.masking import random_mask
from training.models.spt import ShiftedPatchTokenization, shifted_copies
from training.models.tubelets import Grid, TokenSplit, gather_tokens, patchify, zero_masked

GRID = Grid(num_frames=4, image_size=16, tubelet=1, patch=4)  # 4 time patches of 4x4


def split_at_random(ratio: float = 0.5, seed: int = 0) -> TokenSplit:
    return TokenSplit.of(random_mask(2, GRID, ratio, Generator().manual_seed(seed)), 2, GRID)


def small_video() -> torch.Tensor:
    return torch.randn(2, 3, 4, 16, 16, generator=Generator().manual_seed(0))


def test_shifts_of_a_4x4_picture_by_hand():
    """Patches of 2, so shifts by 1; zeros come in from outside."""
    picture = torch.arange(1.0, 17).reshape(1, 1, 1, 4, 4)
    original, down_right, down_left, up_right, up_left = shifted_copies(picture, 1)[0, :, 0]
    assert torch.equal(original, picture[0, 0, 0])
    assert down_right.tolist() == [[0, 0, 0, 0], [0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11]]
    assert down_left.tolist() == [[0, 0, 0, 0], [2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0]]
    assert up_right.tolist() == [[0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15], [0, 0, 0, 0]]
    assert up_left.tolist() == [[6, 7, 8, 0], [10, 11, 12, 0], [14, 15, 16, 0], [0, 0, 0, 0]]


def test_seven_copies_add_a_frame_later_and_a_frame_earlier():
    video = torch.arange(1.0, 4).reshape(1, 1, 3, 1, 1).expand(1, 1, 3, 4, 4)
    later, earlier = shifted_copies(video, 1, 7)[0, 5:, :, 0, 0]
    assert later.tolist() == [0, 1, 2]
    assert earlier.tolist() == [2, 3, 0]


@pytest.mark.parametrize("copies", [5, 7])
def test_tokens_are_normalised_patches_of_all_copies_projected(copies):
    torch.manual_seed(0)
    module, video = ShiftedPatchTokenization(GRID, 10, copies), small_video()
    tubelets = patchify(shifted_copies(video, 2, copies), 1, 4)
    assert tubelets.shape == (2, 64, copies * 48)
    normalised = (tubelets - tubelets.mean(2, keepdim=True)) / (
        tubelets.var(2, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    expected = normalised @ module.proj.weight.T + module.proj.bias
    assert torch.allclose(module(video), expected, atol=1e-5)


def test_visible_tokens_are_those_of_the_video_with_masked_patches_at_zero():
    module, video, split = ShiftedPatchTokenization(GRID, 10), small_video(), split_at_random()
    expected = gather_tokens(module(zero_masked(video, split.mask, GRID)), split.visible)
    assert torch.allclose(module(video, split), expected, atol=1e-6)


def test_visible_tokens_with_the_leak_are_those_of_the_whole_video():
    module, video, split = (
        ShiftedPatchTokenization(GRID, 10, zero_masked_patches=False),
        small_video(),
        split_at_random(),
    )
    assert torch.allclose(module(video, split), gather_tokens(module(video), split.visible), atol=1e-6)


def test_masked_pixels_may_be_anything():
    module, video, split = ShiftedPatchTokenization(GRID, 10, 7), small_video(), split_at_random(0.8)
    other = torch.where(zero_masked(torch.ones_like(video), split.mask, GRID) == 1, video, torch.full_like(video, 1e6))
    assert torch.equal(module(video, split), module(other, split))


def gradient_per_token(**config: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the encoded tokens with respect to each tubelet's pixels, (B, N), and the mask."""
    model, video = autoencoder(**config), random_video(requires_grad=True)
    mask = random_mask(2, model.config.grid, 0.8, Generator().manual_seed(1))
    tokens, _ = model.encoder(video, model.encoder.split_tokens(video, mask))
    tokens.square().sum().backward()
    return patchify(video.grad, 2, 8).abs().sum(2), mask


@pytest.mark.parametrize("copies", [5, 7])
def test_encoder_with_spt_has_exactly_zero_gradient_at_masked_pixels(copies):
    gradient, mask = gradient_per_token(tokenizer="spt", spt_copies=copies)
    assert (gradient[mask] == 0).all()
    assert (gradient[~mask] > 0).all()


def test_without_zeroing_masked_patches_the_encoder_sees_masked_pixels():
    gradient, mask = gradient_per_token(tokenizer="spt", spt_zero_masked=False)
    assert (gradient[mask] > 0).any()
