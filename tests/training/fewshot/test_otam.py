"""Ordered temporal alignment, against the paper's recursion and all alignments, in plain Python."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.fewshot.otam import OTAMHead, alignment_cost

FREE = 2.5  # a head's gamma where it does not matter


def relaxed_minimum(values, gamma):
    low = min(values)
    return low - gamma * math.log(sum(math.exp(-(value - low) / gamma) for value in values))


def padded_recursion(distances, gamma):
    """C(L, M + 1) of the paper: the table with a column of zeros at either side, cell by cell."""
    length, width = distances.shape
    padded = np.pad(distances, ((0, 0), (1, 1)))
    cost = np.zeros((length, width + 2))
    for l in range(length):  # noqa: E741 (the paper's)
        for m in range(width + 2):
            earlier = []
            if m > 0:
                earlier.append(cost[l, m - 1])
            if l > 0 and m > 0:
                earlier.append(cost[l - 1, m - 1])
            if l > 0 and m in (0, width + 1):
                earlier.append(cost[l - 1, m])
            cost[l, m] = padded[l, m] + (relaxed_minimum(earlier, gamma) if earlier else 0.0)
    return cost[-1, -1]


def cheapest_alignment(distances):
    """Least sum over all alignments: each column is matched to a row that stays or grows by one, from any row to any."""

    def continue_from(row, column):
        if row == len(distances):
            return math.inf
        if column == distances.shape[1] - 1:
            return distances[row, column]
        return distances[row, column] + min(continue_from(row, column + 1), continue_from(row + 1, column + 1))

    return min(continue_from(row, 0) for row in range(len(distances)))


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("length", "width"), [(1, 1), (1, 4), (4, 1), (3, 5), (5, 3), (6, 6)])
@pytest.mark.parametrize("gamma", [0.01, 0.1, 1.0])
def test_the_cost_is_that_of_the_paper_s_recursion(length, width, gamma):
    distances = drawn(2, 3, length, width)
    cost = alignment_cost(distances, gamma)
    for first in range(2):
        for second in range(3):
            expected = padded_recursion(distances[first, second].numpy(), gamma)
            assert float(cost[first, second]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("gamma", [0.05, 0.5])
def test_gradients_are_those_of_the_recursion_by_finite_differences(gamma):
    distances = drawn(4, 5).requires_grad_()
    alignment_cost(distances, gamma).backward()
    step = 1e-6
    for row in range(4):
        for column in range(5):
            moved = [distances.detach().numpy().copy() for _ in range(2)]
            moved[0][row, column] += step
            moved[1][row, column] -= step
            slope = (padded_recursion(moved[0], gamma) - padded_recursion(moved[1], gamma)) / (2 * step)
            assert float(distances.grad[row, column]) == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize(("length", "width"), [(1, 3), (3, 3), (4, 5), (6, 4)])
def test_a_small_gamma_gives_the_cheapest_of_all_alignments(length, width):
    distances = drawn(length, width, seed=length)
    assert float(alignment_cost(distances, 1e-5)) == pytest.approx(cheapest_alignment(distances.numpy()), abs=1e-3)


def test_single_precision_is_safe_at_a_small_gamma():
    distances = 2 * drawn(5, 12, 12)
    exact = alignment_cost(distances, 0.002)
    single = distances.float().requires_grad_()
    cost = alignment_cost(single, 0.002)
    torch.testing.assert_close(cost.double(), exact, rtol=1e-4, atol=1e-4)
    cost.sum().backward()
    assert single.grad.isfinite().all()
    torch.testing.assert_close(single.grad.sum((1, 2)), torch.full((5,), 12.0))  # every alignment takes 12 columns once


def sequence(order, seed=0):
    """Unit vectors at right angles in this order, (T, E)."""
    basis = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    return basis[list(order)]


def cost_of(query, support, gamma=1e-4):
    """The head's cost of a single pair of clips, (T, E) each."""
    labels = torch.ones(1, 1, 1, dtype=torch.float64)
    return -float(OTAMHead(gamma)(support[None, None], labels, query[None, None]))


def test_identical_clips_cost_nothing():
    clip = sequence([0, 1, 2, 3, 4])
    assert cost_of(clip, clip) == pytest.approx(0, abs=1e-2)


def test_a_shifted_clip_costs_its_unmatched_frames():
    clip = sequence([0, 1, 2, 3, 4, 5])
    assert cost_of(sequence([1, 2, 3, 4, 5, 6]), clip) == pytest.approx(1, abs=1e-2)  # frame 0, or frame 6
    assert cost_of(sequence([2, 3, 4, 5, 6, 7]), clip) == pytest.approx(2, abs=1e-2)


def test_a_reversed_clip_costs_more_than_a_shifted_one():
    clip = sequence([0, 1, 2, 3, 4, 5])
    assert cost_of(clip.flip(0), clip) == pytest.approx(5, abs=1e-2)  # one frame matches


def test_logits_are_negative_mean_costs_of_both_directions():
    support, queries = drawn(2, 4, 5, 3), drawn(2, 3, 5, 3, seed=1)
    numbers = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]])
    logits = OTAMHead(0.2)(support, F.one_hot(numbers).double(), queries)
    for episode in range(2):
        for query in range(3):
            for label in range(2):
                costs = []
                for clip in (numbers[episode] == label).nonzero()[:, 0].tolist():
                    a, b = queries[episode, query].numpy(), support[episode, clip].numpy()
                    cosine = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
                    costs.append((padded_recursion(1 - cosine, 0.2) + padded_recursion(1 - cosine.T, 0.2)) / 2)
                assert float(logits[episode, query, label]) == pytest.approx(-np.mean(costs), rel=1e-9)


def test_without_support_all_classes_are_alike():
    logits = OTAMHead(FREE)(torch.zeros(2, 0, 4, 3), torch.zeros(2, 0, 5), torch.randn(2, 3, 4, 3))
    assert logits.shape == (2, 3, 5)
    assert torch.equal(logits, logits[:1, :1, :1].expand_as(logits))


def test_a_class_without_support_loses_to_a_similar_class_and_beats_an_opposite_one():
    clip = sequence([0, 1, 2, 3])[None, None]
    labels = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    similar, opposite = OTAMHead(0.1)(clip, labels, clip), OTAMHead(0.1)(-clip, labels, clip)
    assert similar.argmax() == 0
    assert opposite.argmax() == 1
