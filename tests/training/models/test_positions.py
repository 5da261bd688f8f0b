"""Position tables against independent formulas and implementations; interpolation to other grids."""

import numpy as np
import pytest
import torch
from timm.layers.pos_embed import resample_abs_pos_embed

from training.models.positions import (
    FixedPositions,
    JointPositions,
    RotaryPositions,
    SeparablePositions,
    create_positions,
    interpolate_positions,
    positions_at,
    rotate,
    sine_cosine,
    sine_cosine_3d,
    sinusoid_1d,
)
from training.models.tubelets import Grid

GRID = Grid(num_frames=8, image_size=64, tubelet=2, patch=16)  # 4 time patches of 4x4


# Tables


def test_sine_cosine_matches_the_formula():
    table = sine_cosine(torch.tensor([0.0, 1.0, 7.5]), 8).numpy()
    rates = 10000.0 ** -(np.arange(4) / 4)
    angles = np.outer([0.0, 1.0, 7.5], rates)
    np.testing.assert_allclose(table, np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-6)


def test_sine_cosine_of_odd_width_is_an_error():
    with pytest.raises(ValueError, match="a sine-cosine table of 7 columns: must be even"):
        sine_cosine(torch.arange(3), 7)


def test_3d_table_encodes_row_column_and_time_in_their_own_columns():
    table = sine_cosine_3d(GRID, 32).reshape(4, 4, 4, 32)  # time, row, column
    row, column, time = table.split([8, 8, 16], 3)
    assert torch.equal(row, row[:1, :, :1].expand_as(row))
    assert torch.equal(column, column[:1, :1].expand_as(column))
    assert torch.equal(time, time[:, :1, :1].expand_as(time))
    for part, expected in (
        (row[0, :, 0], sine_cosine(torch.arange(4), 8)),
        (column[0, 0], sine_cosine(torch.arange(4), 8)),
        (time[:, 0, 0], sine_cosine(torch.arange(4), 16)),
    ):
        assert torch.equal(part, expected)


@pytest.mark.parametrize("dim", [24, 26, 30, 192])
def test_3d_table_has_the_whole_width_whatever_it_is(dim):
    assert sine_cosine_3d(GRID, dim).shape == (64, dim)


def test_1d_table_equals_that_of_transformers():
    modeling = pytest.importorskip("transformers.models.videomae.modeling_videomae")
    theirs = modeling.get_sinusoid_encoding_table(1568, 48)[0]
    assert torch.allclose(sinusoid_1d(1568, 48), theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["sincos_3d", "sincos_1d"])
def test_every_token_has_a_position_of_its_own(kind):
    table = create_positions(kind, GRID, 48)()
    distances = torch.cdist(table, table) + torch.eye(len(table)) * 100
    assert distances.min() > 0.01


# Modules


def test_separable_positions_are_the_sum_of_space_and_time():
    positions = SeparablePositions(GRID, 6)
    table = positions().reshape(4, 16, 6)
    for time in range(4):
        for space in range(16):
            assert torch.equal(table[time, space], positions.time[time] + positions.space[space])


def test_learned_positions_are_trained_and_saved_and_fixed_ones_are_not():
    assert set(SeparablePositions(GRID, 8).state_dict()) == {"space", "time"}
    assert set(JointPositions(GRID, 8).state_dict()) == {"table"}
    fixed = FixedPositions("sincos_3d", GRID, 8)
    assert not fixed.state_dict()
    assert not list(fixed.parameters())


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("sincos_3d", FixedPositions),
        ("sincos_1d", FixedPositions),
        ("separable", SeparablePositions),
        ("joint", JointPositions),
    ],
)
def test_create_positions_returns_the_kind_with_one_row_per_token(kind, module):
    positions = create_positions(kind, GRID, 24)
    assert isinstance(positions, module)
    assert positions().shape == (64, 24)


@pytest.mark.parametrize("kind", ["sincos_3d", "sincos_1d"])
def test_fixed_positions_of_a_pretrained_grid_are_its_table_interpolated(kind):
    table = create_positions(kind, Grid(16, 224, 2, 16), 24)()
    expected = interpolate_positions(table, (8, 14), (4, 4))
    assert torch.equal(create_positions(kind, GRID, 24, pretrained=(8, 14))(), expected)
    positions = FixedPositions(kind, GRID, 24)
    native = positions().clone()
    positions.set_pretrained_grid((8, 14))
    assert torch.equal(positions(), expected)
    positions.set_pretrained_grid(None)
    assert torch.equal(positions(), native)


# Rotary


def test_rotary_positions_by_hand():
    """Heads of 14 columns: 4 each for time, row and column, 2 not rotated. The rates 1 and 0.01 alternate within a pair."""
    values = torch.arange(1.0, 15).expand(1, 1, 64, 14)
    found = rotate(values, RotaryPositions(GRID, 14)())[0, 0, 2 * 16 + 1 * 4 + 3]  # time 2, row 1, column 3
    expected = []
    for first, position in ((1.0, 2.0), (5.0, 1.0), (9.0, 3.0)):
        for low in (first, first + 2):
            angles = position * 1.0, position * 0.01
            expected.append(low * np.cos(angles[0]) - (low + 1) * np.sin(angles[0]))
            expected.append((low + 1) * np.cos(angles[1]) + low * np.sin(angles[1]))
    np.testing.assert_allclose(found, [*expected, 13, 14], atol=1e-5)


def test_rotary_positions_of_some_tokens_are_those_of_all():
    positions, values = RotaryPositions(GRID, 16), torch.randn(2, 3, 64, 16)
    index = torch.tensor([[0, 5, 63], [7, 2, 40]])
    expected = rotate(values, positions())
    for clip in range(2):
        part = rotate(values[clip : clip + 1, :, index[clip]], positions(index[clip : clip + 1]))
        assert torch.allclose(part[0], expected[clip, :, index[clip]])


def test_rotary_positions_do_not_depend_on_the_grids_size():
    """A token at the same time, row and column is rotated by the same angles on a larger grid."""
    small = RotaryPositions(GRID, 18)().cosine.reshape(4, 4, 4, 18)
    large = RotaryPositions(Grid(num_frames=16, image_size=128, tubelet=2, patch=16), 18)().cosine.reshape(8, 8, 8, 18)
    assert torch.equal(large[:4, :4, :4], small)


def test_rotary_positions_keep_the_type_of_the_values_and_are_not_saved():
    positions = RotaryPositions(GRID, 18)
    assert rotate(torch.zeros(1, 1, 64, 18, dtype=torch.bfloat16), positions()).dtype == torch.bfloat16
    assert not positions.state_dict()


def test_rotary_positions_of_narrow_heads_are_an_error():
    with pytest.raises(ValueError, match="heads of 4 columns: must be at least 6"):
        RotaryPositions(GRID, 4)


# Interpolation


def grid_table(times: int, side: int, values) -> torch.Tensor:
    """A table of one column from a function of time, row and column, each from 0 to 1 over the grid's cell centres."""
    time, space = (torch.arange(times) + 0.5) / times, (torch.arange(side) + 0.5) / side
    t, y, x = torch.meshgrid(time, space, space, indexing="ij")
    return values(t, y, x).reshape(-1, 1)


def test_same_grid_gives_the_same_table():
    table = torch.randn(4 * 16, 6)
    assert interpolate_positions(table, (4, 4), (4, 4)) is table


@pytest.mark.parametrize("new", [(4, 4), (8, 14), (12, 20), (1, 1)])
def test_constant_positions_stay_constant(new):
    table = torch.full((8 * 14 * 14, 3), 0.7)
    assert torch.allclose(interpolate_positions(table, (8, 14), new), torch.tensor(0.7), atol=1e-5)


def test_interpolation_in_time_is_linear():
    times = np.array([0.3, -1.0, 2.0, 0.5])
    table = torch.from_numpy(times).float().repeat_interleave(4)[:, None]
    found = interpolate_positions(table, (4, 2), (8, 2)).reshape(8, 4)
    centres = (np.arange(8) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(found[:, 0], np.interp(centres, np.arange(4), times), atol=1e-6)
    assert torch.equal(found, found[:, :1].expand_as(found))


@pytest.mark.parametrize("side", [7, 20])
def test_interpolation_in_space_equals_timms(side):
    table = torch.randn(14 * 14, 6)
    theirs = resample_abs_pos_embed(
        table[None], [side, side], [14, 14], num_prefix_tokens=0, interpolation="bicubic", antialias=False
    )[0]
    assert torch.allclose(interpolate_positions(table, (1, 14), (1, side)), theirs, atol=1e-5)


def test_smooth_positions_are_nearly_those_of_the_new_grid():
    def smooth(t, y, x):
        return torch.sin(2 * t) + torch.cos(3 * y) + x**2

    found = interpolate_positions(grid_table(8, 14, smooth), (8, 14), (16, 28))
    expected = grid_table(16, 28, smooth)
    inside = torch.zeros(16, 28, 28, dtype=torch.bool)
    inside[1:-1, 4:-4, 4:-4] = True  # borders are extrapolated
    assert (found - expected)[inside.flatten()].abs().max() < 0.05  # of values from -1 to 3


def test_time_and_space_are_not_mixed_up():
    """A table that grows along one axis only keeps doing so."""
    by_axis = (lambda t, y, x: t, lambda t, y, x: y, lambda t, y, x: x)
    for axis, values in enumerate(by_axis):
        found = interpolate_positions(grid_table(8, 14, values), (8, 14), (4, 7)).reshape(4, 7, 7)
        for other in range(3):
            change = found.diff(dim=other)
            assert (change > 0).all() if other == axis else change.abs().max() < 1e-5


# Rows of a table


def test_rows_of_a_table_and_their_gradient():
    table = torch.randn(64, 8, dtype=torch.float64, requires_grad=True)
    index = torch.randint(64, (3, 10))
    assert torch.equal(positions_at(table, index), table[index])
    assert torch.autograd.gradcheck(lambda rows: positions_at(rows, index), table)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_gradient_of_a_table_is_the_same_every_time():
    """That of `table[index]` is not: threads add to a row in any order."""
    table = torch.zeros(16, 64, requires_grad=True)
    index, weight = torch.randint(16, (64, 64)), torch.randn(64, 64, 64)
    gradients = [torch.autograd.grad((positions_at(table, index) * weight).sum(), table)[0] for _ in range(20)]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
