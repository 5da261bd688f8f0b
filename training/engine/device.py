"""The training device, and copies of batches to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

Values = TypeVar("Values")

# Numbers below 1e-38 are zero: a CPU takes several times as long for them, and training with momentum and GELU makes many.
# Here, because threads take the mode from the one that starts them.
torch.set_flush_denormal(True)


def pick_device() -> torch.device:
    """This process's GPU if there is one, else the CPU; with its number, because threads start at GPU 0."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def one_thread() -> Iterator[None]:
    """Operators on a CPU run on one thread: on small tensors several take longer, and many times longer on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_device(values: Values, device: torch.device) -> Values:
    """The tensors in nested tuples, lists and dicts on `device`; copies from the host to a GPU do not wait for it."""

    def move(tensor: Tensor) -> Tensor:
        if device.type == "cuda" and tensor.device.type == "cpu":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)

    moved: Values = tree_map_only(Tensor, move, values)
    return moved
