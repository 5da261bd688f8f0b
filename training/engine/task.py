"""What a run of the training loop trains on: how a batch is drawn, and what is computed with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Generator, Tensor

from training.engine.objective import Measured

Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class Draw:
    """What a batch is drawn by: the step, counted from 0, its random numbers, and the share of the step's batch.

    A step's random numbers depend on the run's seed and the step only. All of them are drawn, for the whole batch; `share`
    keeps those of this part of it, so that processes and accumulated parts together see the same batch as one process.
    """

    step: int
    generator: Generator
    part: int = 0
    parts: int = 1

    def share(self, values: Tensor) -> Tensor:
        """The part's share of `values`, (B, ...) -> (B / parts, ...)."""
        return values.chunk(self.parts)[self.part]


@dataclass(frozen=True)
class Task(Generic[Drawn]):
    """What a run trains on.

    Args:
        draw: draws a batch; runs in a thread, ahead of the step.
        compute: what a batch measures, scalar tensors by name; `loss` is minimised, all are recorded.
        names: clip ids of a batch, saved when its loss is not finite.
        validate: numbers by name, `loss` among them; called `validations` times, with the model in eval mode.
        clips: of each item of a batch, for the throughput.
    """

    draw: Callable[[Draw], Drawn]
    compute: Callable[[Drawn], Measured]
    names: Callable[[Drawn], Sequence[str]] = lambda _: ()
    validate: Callable[[], Mapping[str, float]] | None = None
    clips: int = 1
