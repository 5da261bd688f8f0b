"""Statistics against closed forms, SciPy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import f1_score

from training.engine.statistics import macro_f1, mean_ci95, mean_of_last


def test_mean_and_half_width_by_hand():
    # Deviation of 1, 2, 3, 4 is sqrt(5 / 3); 1.96 * sqrt(5 / 3) / 2 = 1.26517
    mean, half_width = mean_ci95([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert half_width == pytest.approx(1.26517, abs=1e-5)


def test_half_width_of_hits_is_that_of_a_proportion():
    hits = torch.tensor([True] * 30 + [False] * 70)
    mean, half_width = mean_ci95(hits)
    assert mean == pytest.approx(0.3)
    assert half_width == pytest.approx(1.96 * math.sqrt(0.3 * 0.7 / 99))


@pytest.mark.parametrize("seed", range(3))
def test_interval_agrees_with_scipy(seed):
    values = np.random.default_rng(seed).exponential(size=50)
    mean, half_width = mean_ci95(values.tolist())
    low, high = stats.norm.interval(0.95, loc=values.mean(), scale=stats.sem(values))
    assert mean - half_width == pytest.approx(low, abs=1e-4)
    assert mean + half_width == pytest.approx(high, abs=1e-4)


def test_the_interval_holds_the_true_mean_in_95_of_100_samples():
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(2000, 100, generator=generator)
    intervals = [mean_ci95(sample) for sample in samples]
    held = sum(abs(mean - 0.5) <= half_width for mean, half_width in intervals)
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_equal_values_have_no_uncertainty():
    assert mean_ci95(torch.full((10,), 0.25)) == (0.25, 0.0)


def test_one_value_has_an_infinite_interval_and_none_has_no_mean():
    assert mean_ci95([3.0]) == (3.0, math.inf)
    assert all(math.isnan(value) for value in mean_ci95([]))


def test_mean_of_last_takes_at_least_one_value_and_at_most_all():
    values = [1.0, 2.0, 6.0]
    assert mean_of_last(values, 2) == 4.0
    assert mean_of_last(values, 0) == 6.0
    assert mean_of_last(values, 50) == 3.0


def test_macro_f1_by_hand():
    truth = torch.tensor([0, 0, 0, 1, 1, 2])
    predicted = torch.tensor([0, 0, 1, 1, 2, 0])
    # class 0: 2 hits, 3 predicted, 3 true -> 4 / 6; class 1: 1 hit, 2 and 2 -> 2 / 4; class 2: no hits -> 0
    assert macro_f1(predicted, truth) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_macro_f1_leaves_out_classes_that_occur_in_predictions_only():
    assert macro_f1(torch.tensor([0, 7]), torch.tensor([0, 0])) == pytest.approx(2 / 3)


def test_macro_f1_of_a_perfect_prediction_is_one():
    truth = torch.tensor([4, 1, 1, 9])
    assert macro_f1(truth, truth) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_agrees_with_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    truth, predicted = generator.integers(0, 6, 80), generator.integers(0, 6, 80)
    expected = f1_score(truth, predicted, average="macro", labels=np.unique(truth))
    assert macro_f1(torch.from_numpy(predicted), torch.from_numpy(truth)) == pytest.approx(expected)
