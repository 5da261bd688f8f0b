"""Temporary folders of processes that may be killed: each is locked by its process, and the next one deletes the unlocked ones."""

import atexit
import contextlib
import fcntl
import shutil
import tempfile
from io import TextIOWrapper
from pathlib import Path

_LOCK = ".lock"
_held: list[TextIOWrapper] = []  # open files keep their locks until this process ends


def make(prefix: str) -> Path:
    """A new folder in the system's temporary one, deleted when this process ends; those of killed processes are deleted now."""
    parent = Path(tempfile.gettempdir())
    for other in parent.glob(f"{prefix}*"):
        _delete_if_unlocked(other)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    # Locked before it has the name that others look for.
    file = (folder / f"{_LOCK}-new").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    (folder / f"{_LOCK}-new").rename(folder / _LOCK)
    _held.append(file)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _delete_if_unlocked(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as file:  # BlockingIOError: its process runs
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
