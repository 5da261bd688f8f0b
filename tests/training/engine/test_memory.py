"""A batch that does not fit into GPU memory; the memory here is a limit on the items of a pass."""

import pytest
import torch

from common.errors import WorkError
from tests.training.engine.quadratic import Quadratic, settings
from training.engine.checkpoints import Run
from training.engine.loop import train
from training.engine.memory import batch_items, largest_fit, parts_that_fit
from training.engine.objective import Objective
from training.engine.task import Task

CPU = torch.device("cpu")


def limited(model, most):
    """A loss that raises torch's error for more than `most` items."""

    def compute(batch):
        if len(batch[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"loss": (model.weight * batch[0] * batch[1]["factor"]).square().sum(1).mean()}

    return compute


def batch(items):
    return torch.ones(items, 2), {"factor": torch.tensor(2.0)}


@pytest.mark.parametrize(("most", "expected"), [(100, 8), (8, 8), (7, 4), (1, 1), (0, 0)])
def test_the_largest_fit_is_found_by_halves(most, expected):
    model = Quadratic()
    assert largest_fit(Objective(model, limited(model, most)), batch(16), CPU, moments=True) == expected
    assert model.weight.grad is None


def test_parts_that_fit_divide_the_batch():
    assert [parts_that_fit(12, fit) for fit in (12, 6, 5, 4, 1)] == [1, 2, 3, 3, 12]


def test_the_items_of_a_batch_are_those_of_its_first_tensor():
    assert batch_items((torch.tensor(1.0), {"a": torch.ones(5, 2)})) == 5
    assert batch_items(("text", 3)) == 0


def test_a_run_out_of_memory_names_the_batch_and_the_accumulation_that_fit(here):
    model = Quadratic()
    task = Task(lambda draw: batch(24), limited(model, 5))
    message = (
        "^run: out of GPU memory with a batch of 24, 3 fit: set `accumulate` of its optimiser in params.yaml to 8, so"
    )
    with pytest.raises(WorkError, match=message):
        train(Run("run", "f", 0), model, settings(30, batch=24), task)
    assert not (here / "checkpoints/run/model.pt").exists()


def test_a_model_too_large_for_one_item_is_named(here):
    model = Quadratic()
    task = Task(lambda draw: batch(24), limited(model, 0))
    with pytest.raises(WorkError, match="out of GPU memory with a batch of 24, and of 1: choose a smaller model"):
        train(Run("run", "f", 0), model, settings(30, batch=24), task)
