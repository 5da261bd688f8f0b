"""Reconstruction targets against numpy, and the way back to pixels."""

import numpy as np
import pytest
import torch

from training.models.targets import to_pixels, to_target

KINDS = ["pixels", "per_patch", "per_channel"]


def tubelets() -> torch.Tensor:
    """(2, 5, 2 * 4 * 4 * 3), with another mean and spread in each colour."""
    values = torch.randn(2, 5, 32, 3, generator=torch.Generator().manual_seed(0))
    return (values * torch.tensor([0.1, 0.5, 2.0]) + torch.tensor([0.2, 0.5, -1.0])).flatten(2)


def test_pixels_are_their_own_target():
    assert torch.equal(to_target(tubelets(), "pixels"), tubelets())


def test_per_patch_normalises_over_all_values_with_eps_inside_the_root():
    values = tubelets().numpy()
    expected = (values - values.mean(2, keepdims=True)) / np.sqrt(values.var(2, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(to_target(tubelets(), "per_patch"), expected, atol=1e-5)


def test_per_channel_normalises_each_colour_with_eps_outside_the_root():
    values = tubelets().numpy().reshape(2, 5, 32, 3)
    expected = (values - values.mean(2, keepdims=True)) / (np.sqrt(values.var(2, ddof=1, keepdims=True)) + 1e-6)
    np.testing.assert_allclose(to_target(tubelets(), "per_channel"), expected.reshape(2, 5, 96), atol=1e-5)


def test_per_channel_takes_the_colour_from_the_last_axis():
    target = to_target(tubelets(), "per_channel").reshape(2, 5, 32, 3)
    assert torch.allclose(target.mean(2), torch.zeros(2, 5, 3), atol=1e-5)
    assert torch.allclose(target.var(2), torch.ones(2, 5, 3), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_prediction_becomes_the_true_pixels(kind):
    assert torch.allclose(to_pixels(to_target(tubelets(), kind), tubelets(), kind), tubelets(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_flat_tubelets_have_a_finite_target_of_zero(kind):
    flat = torch.full((1, 2, 96), 0.3)
    assert torch.allclose(to_target(flat, kind), torch.zeros(1, 2, 96), atol=1e-4)
    assert torch.allclose(to_pixels(torch.zeros(1, 2, 96), flat, kind), flat)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_of_gathered_tubelets_are_the_gathered_targets(kind):
    assert torch.allclose(to_target(tubelets()[:, 1:3], kind), to_target(tubelets(), kind)[:, 1:3])
