"""Disk budget of the downloaded files, `download.disk_gb`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import WorkError


class Disk:
    """Counts the bytes below `folder` against a limit of `gigabytes` (1e9 bytes); None: no limit. Thread-safe."""

    def __init__(self, folder: Path, gigabytes: float | None) -> None:
        self._folder, self._limit = folder, None if gigabytes is None else int(gigabytes * 1e9)
        self._used: int | None = None  # measured at first use
        self._lock = threading.Lock()

    def require(self, size: int, purpose: str) -> None:
        """Check before the work that about `size` bytes fit into the whole budget.

        Raises:
            WorkError: they do not.
        """
        if self._limit is not None and size > self._limit:
            raise WorkError(
                f"{purpose} will keep about {_text(size)}: download.disk_gb is {self._limit / 1e9:g}; "
                "raise it, or request fewer clips"
            )

    def check(self, size: int, name: str) -> None:
        """Check that `size` more bytes, of the file `name`, fit into what is left of the budget.

        Raises:
            WorkError: they do not.
        """
        self._count(size, name, keep=False)

    def reserve(self, size: int, name: str) -> None:
        """Count `size` bytes that are about to be written to the file `name`.

        Raises:
            WorkError: they exceed what is left of the budget.
        """
        self._count(size, name, keep=True)

    @contextmanager
    def reserved(self, size: int, name: str) -> Iterator[None]:
        """As `reserve`, for a file that the block writes; if the block raises, and so leaves no file, returns the bytes.

        Raises:
            WorkError: they exceed what is left of the budget.
        """
        self.reserve(size, name)
        try:
            yield
        except BaseException:
            if self._used is not None:
                with self._lock:
                    self._used -= size
            raise

    def delete(self, path: Path) -> None:
        """Delete a file, if it exists, and return its bytes to the budget."""
        with self._lock:
            size = _allocated(path)
            path.unlink(missing_ok=True)
            if self._used is not None:
                self._used -= size

    def _count(self, size: int, name: str, *, keep: bool) -> None:
        if self._limit is None:
            return
        with self._lock:
            if self._used is None:
                self._used = sum(_allocated(path) for path in self._folder.rglob("*"))
            if self._used + size > self._limit:
                raise WorkError(
                    f"{name} needs {_text(size)}: {_text(self._used)} of download.disk_gb, {self._limit / 1e9:g}, are taken; "
                    "raise it, or set download.keep_raw: false and run `dvc repro` to free space"
                )
            if keep:
                self._used += size


def _allocated(path: Path) -> int:
    """Bytes that a file occupies on disk: less than its size where it has holes; 0 for folders and missing files."""
    try:
        return path.lstat().st_blocks * 512 if path.is_file() else 0
    except FileNotFoundError:  # deleted by another thread since it was listed
        return 0


def _text(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.2f} MB"
