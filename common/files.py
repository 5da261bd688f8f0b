"""Files that are either the old one or the whole new one, whenever the power goes."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PREFIX = ".part-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, flush it to disk and rename it to `path`.

    The temporary file is removed when the block raises. A killed process leaves it behind: see `sweep`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The target's own suffix stays last: ffmpeg and others choose the format by it.
    temporary = path.parent / f"{_PREFIX}{os.getpid()}-{path.name[-200:]}"
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in the order given, atomically."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def sweep(folder: Path) -> None:
    """Remove temporary files that killed processes left anywhere below `folder`."""
    for left_over in folder.rglob(f"{_PREFIX}*"):
        if left_over.is_file():
            left_over.unlink(missing_ok=True)
