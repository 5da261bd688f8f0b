"""How much of this machine's disk the datasets may take, and files that have given their bytes back.

A clip whose filmstrip is made does not need its raw bytes any more. `hollow` frees them: the file keeps its name, size
and time and holds nothing but a hole, so that every stage still finds done what was done.
"""

import os
from pathlib import Path

from common.errors import WorkError

_HEAD = 64  # no video, zip or image file begins with so many zeros


class Disk:
    """The budget `download.disk_gb` for what lies below `folder`; None: whatever the disk has."""

    def __init__(self, folder: Path, gigabytes: float | None) -> None:
        self._folder, self._limit = folder, None if gigabytes is None else int(gigabytes * 1e9)
        self._used: int | None = None

    def spend(self, size: int, what: str) -> None:
        """Count `size` bytes that are about to be written for `what`.

        Raises:
            WorkError: they are more than is left.
        """
        if self._limit is None:
            return
        if self._used is None:
            self._used = sum(path.lstat().st_blocks * 512 for path in self._folder.rglob("*") if path.is_file())
        if self._used + size > self._limit:
            raise WorkError(
                f"{what} needs {size / 1e9:,.2f} GB: {self._used / 1e9:,.2f} GB of download.disk_gb, {self._limit / 1e9:g}, "
                "are taken; raise it, or set download.keep_raw: false and run `dvc repro` to make room"
            )
        self._used += size

    def foresee(self, size: int, what: str) -> None:
        """Check before the work that about `size` bytes can be written in its course.

        Raises:
            WorkError: they are more than the whole budget.
        """
        if self._limit is not None and size > self._limit:
            raise WorkError(
                f"{what} will keep about {size / 1e9:,.1f} GB: download.disk_gb is {self._limit / 1e9:g}; "
                "raise it or ask for fewer clips"
            )


def hollow(path: Path) -> int:
    """Free the bytes of a file; returns how many. Its size and times stay. A hollow or empty file is left as it is."""
    before = path.stat()
    if not before.st_size or is_hollow(path):
        return 0
    with path.open("r+b") as file:
        file.truncate(0)
        file.truncate(before.st_size)
        os.fsync(file.fileno())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return before.st_size


def remove_hollow(folder: Path) -> int:
    """Delete the hollow files below `folder`, so that they are fetched again; returns how many."""
    files = [path for path in folder.rglob("*") if path.is_file() and is_hollow(path)]
    for path in files:
        path.unlink()
    return len(files)


def is_hollow(path: Path) -> bool:
    """Whether the file has given its bytes back."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return bool(head) and not head.strip(b"\0")
