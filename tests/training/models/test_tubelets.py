"""Grids, tubelets, and the split of tokens by a mask."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, nn

from training.models.masking import random_mask
from training.models.tubelets import (
    Grid,
    TokenSplit,
    TubeletEmbedding,
    gather_tokens,
    patchify,
    patchify_at,
    unpatchify,
    upsample_mask,
    zero_masked,
)

GRID = Grid(num_frames=4, image_size=16, tubelet=2, patch=8)  # 2 time patches of 2x2


def counted_video(batch: int = 2) -> torch.Tensor:
    """Every value differs."""
    return torch.arange(batch * 3 * 4 * 16 * 16.0).reshape(batch, 3, 4, 16, 16)


# Grid


def test_grid_counts_tokens_and_values():
    grid = Grid(num_frames=16, image_size=224, tubelet=2, patch=16)
    assert (grid.time_patches, grid.side, grid.space_patches, grid.tokens) == (8, 14, 196, 1568)
    assert grid.tubelet_values == 2 * 16 * 16 * 3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((15, 64, 2, 8), "num_frames is 15: must be a multiple of tubelet, 2"),
        ((16, 60, 2, 8), "image_size is 60: must be a multiple of patch, 8"),
        ((0, 64, 2, 8), "num_frames is 0: must be at least 1"),
        ((16, -8, 2, 8), "image_size is -8: must be at least 1"),
        ((16, 64, 0, 8), "tubelet is 0: must be at least 1"),
        ((16, 64, 2, 0), "patch is 0: must be at least 1"),
    ],
)
def test_grid_that_does_not_tile_the_video_is_an_error(sizes, message):
    with pytest.raises(ValueError) as caught:
        Grid(*sizes)
    assert str(caught.value) == message


@pytest.mark.parametrize("shape", [(3, 4, 16, 16), (2, 1, 4, 16, 16), (2, 3, 5, 16, 16), (2, 3, 4, 16, 8)])
def test_video_of_another_shape_is_an_error(shape):
    with pytest.raises(ValueError, match=r"must be \(B, 3, 4, 16, 16\)"):
        GRID.check(torch.zeros(shape))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_video_with_values_that_are_not_finite_is_an_error(value):
    video = torch.zeros(2, 3, 4, 16, 16)
    GRID.check(video)
    video[1, 2, 3, 4, 5] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        GRID.check(video)


# Patchify


def test_tokens_are_ordered_by_time_row_column_and_values_by_frame_row_column_colour():
    video = counted_video().numpy()
    expected = []
    for time in (0, 2):
        for row in (0, 8):
            for column in (0, 8):
                part = video[:, :, time : time + 2, row : row + 8, column : column + 8]
                expected.append(np.moveaxis(part, 1, 4).reshape(2, -1))
    np.testing.assert_array_equal(patchify(counted_video(), 2, 8).numpy(), np.stack(expected, 1))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    times=st.integers(1, 3),
    side=st.integers(1, 3),
    tubelet=st.integers(1, 3),
    patch=st.integers(1, 4),
)
def test_unpatchify_inverts_patchify(batch, times, side, tubelet, patch):
    grid = Grid(times * tubelet, side * patch, tubelet, patch)
    video = torch.randn(batch, 3, grid.num_frames, grid.image_size, grid.image_size)
    tubelets = patchify(video, tubelet, patch)
    assert tubelets.shape == (batch, grid.tokens, grid.tubelet_values)
    assert torch.equal(unpatchify(tubelets, grid), video)


def test_patchify_at_equals_patchify_then_gather():
    video, index = counted_video(), torch.tensor([[0, 3, 7], [4, 2, 1]])
    assert torch.equal(patchify_at(video, 2, 8, index), gather_tokens(patchify(video, 2, 8), index))


def test_patchify_takes_any_number_of_channels_and_any_memory_layout():
    video = torch.randn(2, 4, 16, 16, 15).permute(0, 4, 1, 2, 3)
    assert torch.equal(patchify(video, 2, 8), patchify(video.contiguous(), 2, 8))
    index = torch.tensor([[5], [6]])
    assert torch.equal(patchify_at(video, 2, 8, index), patchify_at(video.contiguous(), 2, 8, index))


def test_gather_tokens_takes_each_clips_own_tokens():
    tokens = torch.arange(12.0).reshape(2, 3, 2)
    assert gather_tokens(tokens, torch.tensor([[2, 0], [1, 1]])).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


# Masked pixels


def test_pixel_mask_is_true_exactly_inside_masked_tubelets():
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[0, 1] = True  # first time patch, first row, second column
    mask[1, 6] = True  # second time patch, second row, first column
    pixels = upsample_mask(mask, GRID)
    expected = torch.zeros(2, 1, 4, 16, 16, dtype=torch.bool)
    expected[0, 0, :2, :8, 8:] = True
    expected[1, 0, 2:, 8:, :8] = True
    assert torch.equal(pixels, expected)


def test_masked_tubelets_become_zero_and_others_stay():
    video, mask = counted_video() + 1, random_mask(2, GRID, 0.5, Generator().manual_seed(0))
    before, after = patchify(video, 2, 8), patchify(zero_masked(video, mask, GRID), 2, 8)
    assert (after[mask] == 0).all()
    assert torch.equal(after[~mask], before[~mask])


# Token split


def test_token_split_lists_visible_and_masked_tokens_in_ascending_order():
    mask = torch.tensor([[1, 0, 0, 1, 1, 0, 0, 1], [0, 1, 1, 1, 0, 0, 0, 1]], dtype=torch.bool)
    split = TokenSplit.of(mask, 2, GRID)
    assert split.visible.tolist() == [[1, 2, 5, 6], [0, 4, 5, 6]]
    assert split.masked.tolist() == [[0, 3, 4, 7], [1, 2, 3, 7]]
    assert torch.equal(split.mask, mask)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_token_split_agrees_with_nonzero(ratio):
    grid = Grid(8, 64, 2, 8)
    mask = random_mask(5, grid, ratio, Generator().manual_seed(1))
    split = TokenSplit.of(mask, 5, grid)
    for row, visible, masked in zip(mask, split.visible, split.masked, strict=True):
        assert torch.equal(visible, (~row).nonzero()[:, 0])
        assert torch.equal(masked, row.nonzero()[:, 0])


def test_token_split_moves_as_a_whole():
    split = TokenSplit.of(random_mask(2, GRID, 0.5, Generator()), 2, GRID).to(torch.device("meta"))
    assert isinstance(split, TokenSplit)
    assert {tensor.device.type for tensor in split} == {"meta"}


def uneven_mask() -> torch.Tensor:
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[0, :3] = mask[1, :5] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (uneven_mask(), "hides 3 to 5 tokens: every row must mask the same number"),
        (torch.ones(2, 8, dtype=torch.bool), "hides 8 of 8 tokens"),
        (torch.zeros(2, 8, dtype=torch.bool), "hides 0 of 8 tokens"),
        (torch.zeros(2, 7, dtype=torch.bool), r"a mask is \(2, 7\) torch.bool: must be \(2, 8\) torch.bool"),
        (torch.zeros(3, 8, dtype=torch.bool), r"a mask is \(3, 8\)"),
        (torch.zeros(2, 8), r"a mask is \(2, 8\) torch.float32"),
    ],
)
def test_mask_that_does_not_fit_is_an_error(mask, message):
    with pytest.raises(ValueError, match=message):
        TokenSplit.of(mask, 2, GRID)


# Embedding


def test_embedding_equals_a_3d_convolution():
    torch.manual_seed(0)
    embedding = TubeletEmbedding(GRID, 10)
    convolution = nn.Conv3d(3, 10, kernel_size=(2, 8, 8), stride=(2, 8, 8))
    with torch.no_grad():
        convolution.weight.copy_(embedding.proj.weight.reshape(10, 2, 8, 8, 3).permute(0, 4, 1, 2, 3))
        convolution.bias.copy_(embedding.proj.bias)
    video = torch.randn(2, 3, 4, 16, 16)
    assert torch.allclose(embedding(video), convolution(video).flatten(2).transpose(1, 2), atol=1e-5)


def test_embedding_of_visible_tokens_equals_those_of_all():
    embedding, video = TubeletEmbedding(GRID, 10), torch.randn(2, 3, 4, 16, 16)
    split = TokenSplit.of(random_mask(2, GRID, 0.5, Generator().manual_seed(0)), 2, GRID)
    assert torch.allclose(embedding(video, split), gather_tokens(embedding(video), split.visible), atol=1e-6)
