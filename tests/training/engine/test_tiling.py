"""Windows that tile clips."""

import pytest
import torch

from training.engine.tiling import tile_starts

ALL = list(range(16))
HALF = torch.linspace(0, 15, 8).long().tolist()  # the frames that MAE-ST predicts


def counts(shown, stride, valid, ticks=100):
    """How often each tick of a clip is shown."""
    seen = [0] * ticks
    for start in tile_starts(shown, stride, valid, ticks):
        for frame in shown:
            seen[start + frame * stride] += 1
    return seen


def test_windows_interleave_and_the_last_ones_overlap():
    assert tile_starts(ALL, 4, 100, 100) == [0, 1, 2, 3, 36, 37, 38, 39]
    assert counts(ALL, 4, 100) == [1] * 36 + [2] * 28 + [1] * 36
    assert tile_starts(ALL, 4, 64, 64) == [0, 1, 2, 3]
    assert tile_starts(list(range(24)), 2, 100, 100) == [0, 1, 48, 49, 52, 53]
    assert tile_starts(ALL, 1, 100, 100) == [0, 16, 32, 48, 64, 80, 84]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_every_tick_of_a_clip_that_holds_a_tile_is_shown(stride):
    for valid in range(16 * stride, 101):
        seen = counts(ALL, stride, valid)
        assert min(seen[:valid]) >= 1, valid
        assert max(seen[valid:], default=0) == 0, valid
        assert max(seen) <= 2, valid


def test_windows_of_half_of_the_frames_show_every_tick_as_well():
    assert len(tile_starts(HALF, 4, 100, 100)) == 20
    for stride in (1, 2, 3, 4):
        assert min(counts(HALF, stride, 100)) >= 1


@pytest.mark.parametrize("valid", [10, 35, 60])
def test_a_clip_shorter_than_a_window_has_windows_with_padding(valid):
    assert tile_starts(ALL, 4, valid, 100) == [0, 1, 2, 3]
    assert min(counts(ALL, 4, valid)[:valid]) == 1


def test_ticks_that_no_window_within_the_clip_shows_are_left_out():
    assert tile_starts(ALL, 4, 62, 62) == [0, 1]
    seen = counts(ALL, 4, 62, 62)
    assert {tick % 4 for tick in range(62) if seen[tick]} == {0, 1}
    short = counts(HALF, 4, 20)  # frames 1 and 3 of a window are not predicted
    assert [tick for tick in range(20) if not short[tick]] == [4, 5, 6, 7, 12, 13, 14, 15]


def test_a_window_longer_than_the_clip_s_ticks_is_an_error():
    with pytest.raises(ValueError, match="16 frames at stride 4 span 61 ticks: a clip has 60"):
        tile_starts(ALL, 4, 60, 60)
