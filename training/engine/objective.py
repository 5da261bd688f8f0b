"""The objective of a step as one module, and its compilation."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Measured = Mapping[str, Tensor]


class Objective(nn.Module):
    """The model and the values computed with it, as one module for DistributedDataParallel and torch.compile."""

    def __init__(self, model: nn.Module, compute: Callable[[Any], Measured]) -> None:
        super().__init__()
        self.model, self._compute = model, compute

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The values of a batch, scalars by name."""
        return dict(self._compute(batch))


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Autocast to bfloat16 on a GPU."""
    context: contextlib.AbstractContextManager[None] = torch.autocast(
        device.type, torch.bfloat16, enabled=device.type == "cuda"
    )
    return context


def dry_run(objective: nn.Module, batch: Any, device: torch.device) -> None:
    """One forward and backward pass, which leaves the parameters and their gradients as they are."""
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    with mixed_precision(device):
        loss = objective(batch)["loss"]
    torch.autograd.grad(loss, parameters, allow_unused=True)


def compiled(objective: nn.Module, batch: Any, device: torch.device, *, graphs: bool, name: str) -> nn.Module:
    """`objective` compiled by torch.compile for batches of the shapes of `batch`, or unchanged if that fails; prints a line.

    Args:
        objective: of the run.
        batch: for the first passes, in which all of it is compiled.
        device: of the model.
        graphs: also record CUDA graphs, so that a pass is one launch.
        name: of the run, for the line.

    Raises:
        torch.OutOfMemoryError: the batch does not fit into the GPU's memory.
    """
    started = time.monotonic()
    torch.compiler.reset()  # what runs before this one in the process have compiled counts towards a limit
    module: nn.Module = torch.compile(objective, dynamic=False, mode="reduce-overhead" if graphs else None)  # type: ignore[assignment]
    try:
        for _ in range(3 if graphs else 1):  # CUDA graphs run once before they are recorded
            torch.compiler.cudagraph_mark_step_begin()
            dry_run(module, batch, device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (compilers and drivers fail in ways of their own; eager gives the same result)
        torch.compiler.reset()
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        print(f"{name}: cannot be compiled, runs without: {reason}")
        return objective
    print(f"{name}: compiled{' with CUDA graphs' if graphs else ''} in {time.monotonic() - started:.0f} s")
    return module
