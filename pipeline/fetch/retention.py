"""Freeing the bytes of raw files that no later stage needs (`download.keep_raw: false`).

A freed file becomes a sparse placeholder, which occupies no disk space. Its name, size and modification time stay, so
that ledgers find it unchanged. Only files of the pipeline's own are freed, below `data/raw` and `data/trimmed`, never
those in a user's folders.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from common.paths import RAW, TRIMMED

_OWN_FOLDERS = {RAW, TRIMMED}
_HEAD = 64  # bytes; no video, image or zip file begins with so many zeros


def punch_holes(paths: Iterable[Path]) -> int:
    """Free the bytes of the pipeline's own among the files at `paths`; returns how many bytes."""
    return sum(punch_hole(path) for path in _own_files(paths))


def count_punched(paths: Iterable[Path]) -> int:
    """How many of the pipeline's own files at `paths` are placeholders."""
    return sum(is_punched(path) for path in _own_files(paths))


def remove_punched(folder: Path) -> int:
    """Delete the placeholders below `folder`, so that they are downloaded again; returns how many."""
    files = [path for path in folder.rglob("*") if path.is_file() and is_punched(path)]
    for path in files:
        path.unlink()
    return len(files)


def punch_hole(path: Path) -> int:
    """Free the bytes of one file; returns how many. 0 for a placeholder and an empty file."""
    before = path.stat()
    if not before.st_size or is_punched(path):
        return 0
    with path.open("r+b") as file:
        file.truncate(0)
        file.truncate(before.st_size)
        os.fsync(file.fileno())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return before.st_size


def is_punched(path: Path) -> bool:
    """Whether the file is a sparse placeholder."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return bool(head) and not head.strip(b"\0")


def _own_files(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if _OWN_FOLDERS & {*path.parents} and path.exists()]
