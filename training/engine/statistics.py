"""Means with their uncertainty."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def mean_ci95(values: Tensor | Sequence[float]) -> tuple[float, float]:
    """Mean of independent values and the half width of its 95% interval (normal approximation)."""
    values = torch.as_tensor(values, dtype=torch.float64)
    if len(values) < 2:
        return float(values.mean()), math.inf
    return float(values.mean()), float(1.96 * values.std() / math.sqrt(len(values)))
