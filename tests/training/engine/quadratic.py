"""A model of two weights, for tests of the training loop."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.engine.task import Draw, Task
from training.params import Optimiser


class Quadratic(nn.Module):
    """Two weights that a noisy quadratic loss pulls to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, -2.0]))


def noisy(model: Quadratic) -> Task[Tensor]:
    def draw(step: Draw) -> Tensor:
        return 0.1 * torch.randn(2, generator=step.generator)

    def compute(drawn: Tensor) -> dict[str, Tensor]:
        noise = drawn + 0.1 * torch.randn(2)  # also the global generator
        return {"loss": ((model.weight + noise) ** 2).sum(), "noise": noise.sum()}

    return Task(draw, compute)


def constant(compute: Callable[[], Tensor]) -> Task[None]:
    """The loss that `compute` returns, without batches."""
    return Task(lambda step: None, lambda batch: {"loss": compute()})


def settings(steps: int, **changes: object) -> Optimiser:
    values = {"steps": steps, "warmup": 10, "batch": 1, "lr": 0.05, "weight_decay": 0.0}
    values |= {"betas": (0.9, 0.95), "clip_norm": 1.0}
    return Optimiser(**(values | changes))
