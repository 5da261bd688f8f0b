"""Atomic file writes."""

import contextlib
import glob
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PREFIX = ".part-"
_NAME_LENGTH = 200  # characters of a file's name in that of its temporary file, so that it fits
_KEEP_FREE, _KEEP_SHARE = 5e9, 0.1  # bytes of a disk that caches leave free, and their share of a smaller disk
_STARTED = time.time()
_discarding = False


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; at the end of the block, rename it to `path`.

    File and folder are flushed to disk, so that after a power failure `path` is either the old file or the new one,
    complete. When the block raises, the temporary file is removed and `path` is unchanged. A process that is killed
    leaves its temporary file behind: see `sweep` and `sweep_beside`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because ffmpeg and others choose the format by it.
    temporary = path.parent / f"{_PREFIX}{os.getpid()}-{path.name[-_NAME_LENGTH:]}"
    try:
        yield temporary
        if _discarding:
            temporary.unlink()
            return
        _flush(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
        _flush(path.parent)


@contextlib.contextmanager
def discarded() -> Iterator[None]:
    """In the block, `replacing` leaves files as they are: another process writes the same."""
    global _discarding
    _discarding = True
    try:
        yield
    finally:
        _discarding = False


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON with keys in the order given.

    Raises:
        ValueError: `value` contains NaN or an infinity, which JSON does not have.
    """
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def has_room(path: Path, size: int) -> bool:
    """Whether the disk of `path`, which need not exist, has `size` bytes for a cache and then 5 GB, or a tenth of it, free."""
    disk = shutil.disk_usage(next(folder for folder in (path, *path.absolute().parents) if folder.exists()))
    return disk.free - size > min(_KEEP_FREE, _KEEP_SHARE * disk.total)


def sweep(folder: Path) -> None:
    """Delete the temporary files of killed processes anywhere below `folder`; those of living processes stay."""
    _delete_stale(folder.rglob(f"{_PREFIX}*"))


def sweep_beside(path: Path) -> None:
    """Delete the temporary files that killed processes have left of writing `path`, which may be in any folder."""
    _delete_stale(path.parent.glob(f"{_PREFIX}*-{glob.escape(path.name[-_NAME_LENGTH:])}"))


def _delete_stale(temporaries: Iterable[Path]) -> None:
    for temporary in temporaries:
        owner = temporary.name.removeprefix(_PREFIX).partition("-")[0]
        if temporary.is_file() and not (
            owner.isdecimal() and _is_running(int(owner)) and not _is_older(temporary, owner)
        ):
            temporary.unlink(missing_ok=True)


def _is_older(temporary: Path, owner: str) -> bool:
    """Whether a file with this process's number is older than this process: in containers, numbers are the same in each run."""
    try:
        return int(owner) == os.getpid() and temporary.stat().st_mtime < _STARTED
    except FileNotFoundError:
        return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Whether a process has ended and its parent has not waited for it; in a container, that may last. Linux only."""
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except (OSError, IndexError):
        return False


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
