"""Trivial classifiers of clips' first labels, which a trained one has to beat."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.windows import ClipWindows
from training.engine.statistics import mean_ci95
from training.models.encoder import Encoder
from training.models.preprocess import preprocess

_BATCH = 32
_EPS = 1e-6


@torch.no_grad()
def pooled_latents(encoder: Encoder, data: ClipWindows) -> Tensor:
    """The encoder's latents of every clip's middle window, averaged over tokens: (N, D), on the host."""
    pooled = []
    for index in data.batches(_BATCH):
        video = preprocess(data.even_windows(index, 0, 1), encoder.config)
        pooled.append(encoder.pool(encoder.encode(video).float()).cpu())
    return torch.cat(pooled)


def logistic_regression(
    features: Tensor, truth: Tensor, test_features: Tensor, classes: int, *, penalty: float = 1.0
) -> Tensor:
    """Class numbers (M,) that multinomial logistic regression predicts for `test_features` (M, D).

    Features are standardised by those of training. The loss is the sum of the cross entropies and half of `penalty` times
    the squared weights (without the bias), as in scikit-learn with C = 1 / penalty; it is minimised by L-BFGS.

    Args:
        features: of the training clips, (N, D).
        truth: their class numbers, (N,).
        test_features: (M, D).
        classes: C.
        penalty: on the weights.
    """
    mean, deviation = features.mean(0), features.std(0) + _EPS
    train, test = (features - mean) / deviation, (test_features - mean) / deviation
    model = nn.Linear(train.shape[1], classes)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    solver = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> float:
        solver.zero_grad()
        loss = F.cross_entropy(model(train), truth, reduction="sum") + penalty / 2 * model.weight.square().sum()
        loss.backward()
        return float(loss.detach())

    solver.step(closure)
    with torch.no_grad():
        guess: Tensor = model(test).argmax(1)
    return guess


def control_scores(guess: Tensor, truth: Tensor) -> dict[str, float]:
    """`top1` and `top1_ci95` of class numbers (N,)."""
    top1, top1_ci95 = mean_ci95(guess == truth)
    return {"top1": top1, "top1_ci95": top1_ci95}
