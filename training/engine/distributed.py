"""Data-parallel training by `torchrun`: the processes, their devices, and sums over them. A single process is a group of one."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from common import files, lock, signals
from common.errors import ParamError, WorkError

_TIMEOUT = timedelta(hours=1)  # of a process for the others, which may still read clips
_OTHERS_S = 10.0  # in which `torchrun` ends this process if another one has failed too


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


def launched(stage: str, main: Callable[[], None]) -> Callable[[], None]:
    """`main` of a stage, once at a time in a folder, in one process or in each of those that `torchrun` has started.

    All processes compute the same and share the batches of training; the first one holds the stage's lock, prints and
    writes files. The others print an error of their own only.
    """

    def run() -> None:
        rank = int(os.environ.get("RANK", "0"))
        if rank == 0:
            with joined(), lock.hold(stage):
                main()
        else:
            with _named_errors(rank), joined(), _silent(), files.discarded():
                main()

    return run


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """The group that `torchrun` has started, joined over NCCL on GPUs and gloo otherwise; this process's GPU is the current one.

    Raises:
        WorkError: there are more processes than GPUs, or another process has ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield group()
        return
    device = None
    if torch.cuda.is_available():
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise WorkError(
                f"there is no GPU for process {local} of this machine: start at most {gpus}, one for each GPU"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device is None else "nccl", timeout=_TIMEOUT, device_id=device)
    try:
        yield group()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise WorkError("another process of the run has ended") from None
    dist.destroy_process_group()  # not after an error: it may wait for processes that do not answer


def mean(values: Tensor) -> Tensor:
    """The mean of `values` over the processes."""
    if not dist.is_initialized():
        return values
    summed = values.clone()
    dist.all_reduce(summed)
    return summed / dist.get_world_size()


def check_equal(value: int, name: str) -> None:
    """Check that all processes have the same number.

    Raises:
        WorkError: they do not.
    """
    if not dist.is_initialized():
        return
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    bounds = torch.tensor([value, -value], device=device)
    dist.all_reduce(bounds, dist.ReduceOp.MAX)
    if bounds[0] != -bounds[1]:
        raise WorkError(f"the processes do not see the same {name}: start them in one folder that all machines share")


@contextlib.contextmanager
def _named_errors(rank: int) -> Iterator[None]:
    """Errors with the process's number, and only if `torchrun` does not end this process because another one has failed."""
    try:
        try:
            yield
        except (ParamError, WorkError) as error:
            time.sleep(_OTHERS_S)
            raise type(error)(f"process {rank}: {error}") from None
    except signals.Stopped as stopped:
        raise SystemExit(stopped.code) from None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with (
        open(os.devnull, "w") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
