"""Validation clips carved from the training clips."""

from dataclasses import dataclass

import pytest

from training.engine.validation import carve


@dataclass(frozen=True)
class Row:
    clip_id: str


ROWS = [Row(f"clip{number}") for number in range(200)]


def test_a_share_of_the_clips_is_held_out_and_the_rest_is_left_in_order():
    train, held = carve(ROWS, 0.05, seed=0)
    assert len(held) == 10
    assert not set(train) & set(held)
    assert sorted((*train, *held), key=ROWS.index) == ROWS
    assert list(train) == sorted(train, key=ROWS.index)
    assert list(held) == sorted(held, key=ROWS.index)


def test_the_seed_and_the_clips_alone_decide_which_are_held_out():
    held = carve(ROWS, 0.05, seed=0)[1]
    assert set(carve(ROWS[::-1], 0.05, seed=0)[1]) == set(held)
    assert set(carve(ROWS, 0.05, seed=1)[1]) != set(held)


def test_clips_that_are_added_move_few_others():
    before = set(carve(ROWS, 0.1, seed=0)[1])
    after = set(carve([*ROWS, *(Row(f"new{number}") for number in range(20))], 0.1, seed=0)[1])
    assert len(before - after) <= 4


@pytest.mark.parametrize(
    ("share", "rows", "expected"), [(0.0, 5, 0), (0.01, 5, 1), (1.0, 5, 4), (0.5, 1, 0), (0.5, 0, 0)]
)
def test_a_clip_is_held_out_unless_the_share_is_zero_and_one_is_left(share, rows, expected):
    train, held = carve(ROWS[:rows], share, seed=0)
    assert (len(train), len(held)) == (rows - expected, expected)
