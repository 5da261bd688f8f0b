"""Means, confidence intervals and F1."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_Z95 = 1.96  # standard deviations on either side of the mean of a normal distribution that hold 95% of it


def mean_ci95(values: Tensor | Sequence[float]) -> tuple[float, float]:
    """Mean of independent values and half the width of its 95% confidence interval (normal approximation).

    The half width is infinite for one value; both are NaN for none.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.inf if len(values) else math.nan
    return mean, float(_Z95 * values.std() / math.sqrt(len(values)))


def mean_of_last(values: Sequence[float], count: int) -> float:
    """Mean of the last `count` values, at least of the last one."""
    tail = values[-max(1, count) :]
    return sum(tail) / len(tail)


def macro_f1(predicted: Tensor, truth: Tensor) -> float:
    """F1 averaged over the classes that occur in `truth`; both (n,) class numbers."""
    scores = []
    for number in truth.unique():
        hits = ((predicted == number) & (truth == number)).sum()
        scores.append(2 * hits / ((predicted == number).sum() + (truth == number).sum()))
    return float(torch.stack(scores).mean())


def label_f1(predicted: Tensor, truth: Tensor) -> tuple[float, float]:
    """F1 of sets of labels: averaged over the labels that occur in `truth` (macro), and over all pairs (micro).

    Args:
        predicted: (n, labels) bool.
        truth: (n, labels) bool.
    """
    hits, sizes = (predicted & truth).sum(0), predicted.sum(0) + truth.sum(0)
    occurs = truth.any(0)
    return float((2 * hits[occurs] / sizes[occurs]).mean()), float(2 * hits.sum() / sizes.sum())
