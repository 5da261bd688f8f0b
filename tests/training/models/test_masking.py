"""Masks have the exact share and pattern that their kind promises."""

import dataclasses

import pytest
import torch
from torch import Generator

from training.models.masking import Masking, frame_mask, masked_count, random_mask, running_cells, tube_mask
from training.models.tubelets import Grid

GRID = Grid(num_frames=16, image_size=64, tubelet=2, patch=8)  # 8 time patches of 8x8
KINDS = {"random": random_mask, "tube": tube_mask, "frame": frame_mask}


def by_time(mask: torch.Tensor, grid: Grid = GRID) -> torch.Tensor:
    return mask.reshape(len(mask), grid.time_patches, grid.space_patches)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_every_row_masks_its_share(kind, ratio):
    mask = Masking(kind, ratio)(6, GRID, Generator().manual_seed(0))
    assert mask.shape == (6, 512)
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [round(512 * ratio)] * 6


def test_shares_are_rounded_to_whole_tokens_tubes_and_frames():
    grid = Grid(16, 224, 2, 16)
    assert random_mask(3, grid, 0.9, Generator()).sum(1).tolist() == [1411] * 3  # 0.9 * 1568 = 1411.2
    assert tube_mask(3, grid, 0.9, Generator()).sum(1).tolist() == [176 * 8] * 3  # 0.9 * 196 = 176.4
    assert frame_mask(3, grid, 0.8, Generator()).sum(1).tolist() == [6 * 196] * 3  # 0.8 * 8 = 6.4


def test_tubes_mask_the_same_space_patches_at_all_times():
    mask = by_time(tube_mask(4, GRID, 0.75, Generator().manual_seed(0)))
    assert (mask == mask[:, :1]).all()


def test_frame_masks_hide_whole_time_patches():
    mask = by_time(frame_mask(4, GRID, 0.75, Generator().manual_seed(0)))
    assert (mask == mask[..., :1]).all()
    assert mask[..., 0].sum(1).tolist() == [6] * 4


def test_random_masks_are_neither_tubes_nor_frames():
    mask = by_time(random_mask(4, GRID, 0.5, Generator().manual_seed(0)))
    assert (mask != mask[:, :1]).any()
    assert (mask != mask[..., :1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_masked_equally_often(kind):
    mask = KINDS[kind](4000, Grid(8, 16, 2, 4), 0.5, Generator().manual_seed(0))
    assert (mask.float().mean(0) - 0.5).abs().max() < 0.04  # five standard deviations


@pytest.mark.parametrize("kind", KINDS)
def test_rows_differ_and_a_seed_repeats_them(kind):
    masking = Masking(kind, 0.5)
    first, again = (masking(8, GRID, Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert len({tuple(row.tolist()) for row in first}) > 4
    assert not torch.equal(first, masking(8, GRID, Generator().manual_seed(4)))


@pytest.mark.parametrize(
    ("tokens", "ratio", "count"),
    [(10, 0.5, 5), (10, 0.94, 9), (10, 0.99, 9), (10, 0.01, 1), (2, 0.99, 1), (1568, 0.9, 1411)],
)
def test_at_least_one_token_is_masked_and_one_visible(tokens, ratio, count):
    assert masked_count(tokens, ratio) == count


@pytest.mark.parametrize("ratio", [0, 1, -0.5, 1.5, float("nan")])
def test_ratio_outside_of_0_and_1_is_an_error(ratio):
    for fails in (lambda: masked_count(10, ratio), lambda: Masking("random", ratio)):
        with pytest.raises(ValueError, match=f"a masking ratio of {ratio}: must lie between 0 and 1"):
            fails()


def test_masking_a_single_time_patch_by_frames_is_an_error():
    with pytest.raises(ValueError, match="at least two patches"):
        Masking("frame", 0.5)(1, Grid(2, 64, 2, 8), Generator())


def test_unknown_kind_is_an_error_that_lists_the_kinds():
    with pytest.raises(ValueError, match="a masking of 'tubes': must be one of random, tube, frame"):
        Masking("tubes", 0.5)


def test_masking_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Masking("tube", 0.5).ratio = 0.9


# The decoder's mask


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_running_cells_mask_their_share_of_every_cell_and_move_on(ratio):
    mask = running_cells(6, GRID, ratio, Generator().manual_seed(0)).reshape(6, 8, 8, 8)
    cells = mask.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # clip, time, row, column, patch of the cell
    assert (cells.sum(-1) == round(4 * ratio)).all()
    assert (cells == cells[:, :, :1, :1]).all()
    assert (cells[:, 1:, 0, 0] != cells[:, :-1, 0, 0]).any(-1).all()
    assert (cells[:, :4, 0, 0].sum(1) == round(4 * ratio)).all()  # over four time patches every patch has its turn
    assert len({tuple(pattern.tolist()) for pattern in cells[:, 0, 0, 0]}) > 1


def test_running_cells_of_one_clip_by_hand():
    """Two of four patches, in a cell of one time patch after another: the pair moves around the cell."""
    mask = running_cells(1, Grid(8, 16, 2, 8), 0.5, Generator().manual_seed(0)).reshape(4, 4).int().tolist()
    around = [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1], [0, 1, 0, 1]]  # row by row: top, left, bottom, right pair
    start = around.index(mask[0])
    assert mask == [around[(start + time) % 4] for time in range(4)]


def test_decoder_mask_is_none_without_a_ratio():
    assert Masking("tube", 0.9).decoder_mask(2, GRID, Generator()) is None


def test_decoder_mask_is_of_running_cells():
    mask = Masking("tube", 0.9, decoder_ratio=0.5).decoder_mask(2, GRID, Generator().manual_seed(7))
    assert torch.equal(mask, running_cells(2, GRID, 0.5, Generator().manual_seed(7)))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.9, 1.0])
def test_decoder_ratio_that_a_cell_of_four_cannot_have_is_an_error(ratio):
    with pytest.raises(ValueError, match=r"must be 0\.25, 0\.5, 0\.75 or null"):
        Masking("tube", 0.9, decoder_ratio=ratio)
    with pytest.raises(ValueError, match="must mask 1 to 3 of the 4 patches"):
        running_cells(1, GRID, ratio, Generator())


def test_running_cells_on_a_grid_with_an_odd_side_are_an_error():
    with pytest.raises(ValueError, match="7x7 space patches: running cells need an even side"):
        running_cells(1, Grid(8, 56, 2, 8), 0.5, Generator())
