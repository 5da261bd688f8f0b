"""Data-parallel training by `torchrun`: the processes, their devices, and sums over them. A single process is a group of one."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """The processes of a run: this one's number, and how many there are."""

    rank: int
    size: int

    @property
    def is_first(self) -> bool:
        """True in the process that prints and writes files."""
        return self.rank == 0


def group() -> Group:
    """The group of this process."""
    return Group(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Group(0, 1)


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """The group that `torchrun` has started, joined over NCCL on GPUs and gloo otherwise."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield group()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield group()
    finally:
        dist.destroy_process_group()


def mean(values: Tensor) -> Tensor:
    """The mean of `values` over the processes."""
    if not dist.is_initialized():
        return values
    summed = values.clone()
    dist.all_reduce(summed)
    return summed / dist.get_world_size()
