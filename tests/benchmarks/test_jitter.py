"""Random affine maps of pictures, by the moments of a bright square."""

import math

import pytest
import torch

from benchmarks.jitter import Jitter

SIDE, NUMBER = 64, 200


def squares(channels=1):
    pictures = torch.zeros(NUMBER, channels, SIDE, SIDE, dtype=torch.uint8)
    pictures[:, :, 24:40, 24:40] = 255
    return pictures


def moments(pictures):
    """Centres (N, 2) and covariances (N, 2, 2) of the ink, rows before columns, in pixels."""
    ink = pictures[:, 0].double()
    places = torch.stack(torch.meshgrid(*[torch.arange(float(SIDE)).double()] * 2, indexing="ij"), -1)
    weights = (ink / ink.sum((1, 2), keepdim=True))[..., None]
    centres = (weights * places).sum((1, 2))
    away = places - centres[:, None, None]
    return centres, torch.einsum("nyx,nyxa,nyxb->nab", weights[..., 0], away, away)


def jittered(jitter, pictures):
    return jitter(pictures, torch.Generator().manual_seed(0))


def test_without_limits_pictures_stay_as_they_are():
    assert torch.equal(jittered(Jitter(angle=0, shift=0), squares()), squares())


def test_shifts_are_uniform_up_to_the_limit():
    centres, _ = moments(jittered(Jitter(angle=0, shift=0.2), squares()))
    away = (centres - 31.5) / SIDE
    assert 0.18 < float(away.abs().max()) <= 0.2 + 1e-3
    assert away.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
    ("jitter", "determinants"),
    [(Jitter(0, 0, scale=0.3), 4 * 0.3), (Jitter(0, 0, stretch=0.3), 0), (Jitter(0.5, 0), 0)],
)
def test_the_area_changes_by_the_scale_alone(jitter, determinants):
    before, after = moments(squares())[1], moments(jittered(jitter, squares()))[1]
    change = (after.det() / before.det()).log()
    assert float(change.abs().max()) == pytest.approx(determinants, abs=0.1)


def test_stretching_changes_width_and_height_against_each_other():
    _, spread = moments(jittered(Jitter(0, 0, stretch=0.3), squares()))
    ratio = (spread[:, 1, 1] / spread[:, 0, 0]).log() / 4  # of variances
    assert 0.27 < float(ratio.abs().max()) < 0.31
    assert spread[:, 0, 1].abs().max() < 0.1


def test_shearing_correlates_rows_and_columns():
    _, spread = moments(jittered(Jitter(0, 0, shear=0.2), squares()))
    slope = spread[:, 0, 1] / spread[:, 0, 0]
    assert 0.18 < float(slope.abs().max()) < 0.21


def test_the_channels_of_a_picture_move_alike_and_pictures_apart():
    found = jittered(Jitter(0.3, 0.1, 0.1, 0.1, 0.1), squares(channels=3))
    assert found.shape == (NUMBER, 3, SIDE, SIDE)
    assert torch.equal(found[:, 0], found[:, 2])
    assert not torch.equal(found[0], found[1])
