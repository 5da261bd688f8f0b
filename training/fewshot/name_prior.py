"""What class names tell of class means, learned from the training classes: a ridge regression, and how many clips it is worth.

The mean of a class with the name vector v is taken for normally distributed around W'v + b with variance t in each dimension, and
the class's clips around their mean with variance s. After n clips the expected mean of the class is then

    (k (W'v + b) + sum of the clips) / (k + n),  k = s / t.

W and b are the ridge regression of the training classes' means on their names. Its penalty, and t, are chosen by the error at each
class of the regression on all others, because classes that are recognised later have names it has not seen. Names that tell
nothing end in the largest penalty: W is then nearly zero, and b, the mean of all classes, moves all prototypes alike.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_PENALTIES = torch.logspace(-4, 4, 33, dtype=torch.float64)  # on vectors of unit length
_LEAST_SHARE = 0.01  # of the error that is not the noise of the training classes' means, so that k is finite


class NamePrior(NamedTuple):
    """The expected mean of a class by its name, and how many clips it is worth."""

    weight: Tensor  # W, (D, E)
    bias: Tensor  # b, (E,)
    clips: float  # k
    explained: float  # share of the variance between classes that is predicted from the names of other classes


def fit_prior(names: Tensor, embedded: Tensor, classes: Tensor) -> NamePrior:
    """The prior of classes from those of labelled clips.

    Args:
        names: vectors of the classes' names, (C, D), C at least 2.
        embedded: clips, (N, E), of every class at least one.
        classes: their classes, (N,), from 0 to C - 1.
    """
    names, embedded = names.double().cpu(), embedded.double().cpu()
    members = torch.nn.functional.one_hot(classes.cpu(), len(names)).double()  # (N, C)
    counts = members.sum(0)
    means = members.T @ embedded / counts.unsqueeze(1)
    within = (embedded - means[classes.cpu()]).square().sum(0).mean() / max(len(embedded) - len(names), 1)
    weight, bias, error = ridge_regression(names, means)
    noise = within * (1 / counts).mean()  # of the means, from clips
    between = torch.maximum(error - noise, _LEAST_SHARE * error)
    unexplained = error / _leave_one_out_variance(means)
    return NamePrior(weight.float(), bias.float(), float(within / between), float(1 - unexplained))


def ridge_regression(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ridge regression with an intercept, whose penalty has the least error by leaving one out.

    Args:
        inputs: (C, D) double precision.
        targets: (C, E).

    Returns:
        The weights (D, E), the intercept (E,), and the mean squared error at each target of the regression on the others.
    """
    centre, level = inputs.mean(0), targets.mean(0)
    left, sizes, right = torch.linalg.svd(inputs - centre, full_matrices=False)
    projected = left.T @ (targets - level)
    errors = []
    for penalty in _PENALTIES:
        shrunk = sizes.square() / (sizes.square() + penalty)
        leverage = 1 / len(inputs) + left.square() @ shrunk
        residual = targets - level - left @ (shrunk.unsqueeze(1) * projected)
        errors.append((residual / (1 - leverage).unsqueeze(1)).square().mean())
    best = int(torch.stack(errors).argmin())
    weight = right.T @ ((sizes / (sizes.square() + _PENALTIES[best])).unsqueeze(1) * projected)
    return weight, level - centre @ weight, errors[best]


def _leave_one_out_variance(targets: Tensor) -> Tensor:
    """Mean squared distance of each target from the mean of the others."""
    return ((targets - targets.mean(0)) * len(targets) / (len(targets) - 1)).square().mean()
