"""Memory that the processes of one machine share, mapped from a file that only they see."""

import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from common.errors import WorkError
from common.files import has_room, sweep

FOLDER = Path("data/frames", platform.node())  # by machine, because several may see the current folder


def local_processes() -> int:
    """Processes that `torchrun` has started on this machine, this one included."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def can_share(size: int) -> bool:
    """Whether the disk has room for a file of `size` bytes; the kernel may move mapped memory there."""
    return has_room(FOLDER, size)


def map_shared(name: str, size: int, fill: Callable[[Tensor], None]) -> Tensor:
    """(size,) uint8 that is the same memory in all processes of `torchrun` on this machine, filled by the first of them.

    The file is deleted once all have mapped it, so that nothing is left of it when they end, however they do.

    Raises:
        WorkError: the disk is full.
    """
    import fcntl  # absent on Windows

    FOLDER.mkdir(parents=True, exist_ok=True)
    # Named by the process that has started this one and its siblings, so that `sweep` deletes them when that one has ended.
    path = FOLDER / f".part-{os.getppid()}-{name}"
    lock_path = path.with_suffix(".lock")
    with lock_path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(FOLDER)
        if not path.exists():
            _create(path, name, size + 1, fill)
        content = torch.from_file(str(path), shared=True, size=size + 1, dtype=torch.uint8)
        content[size] += 1  # processes that have mapped it
        if content[size] == local_processes():
            path.unlink()
            lock_path.unlink(missing_ok=True)
    return content[:size]


def _create(path: Path, name: str, size: int, fill: Callable[[Tensor], None]) -> None:
    temporary = FOLDER / f".part-{os.getpid()}-{name}"
    try:
        with temporary.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, size)  # a disk that is full later would end the process
            file.truncate(size)
        fill(torch.from_file(str(temporary), shared=True, size=size, dtype=torch.uint8)[:-1])
        temporary.rename(path)
    except OSError as error:
        raise WorkError(f"{FOLDER} has no room for {size / 1e9:,.1f} GB of frames: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
