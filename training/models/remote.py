"""Checkpoints at URLs, downloaded once into a cache folder.

fsspec reads the URL. Its own file caches are not used: they write in place, and so take a broken download for a whole file.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path

from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing, sweep

CACHE = Path(os.environ.get("CHECKPOINT_CACHE", "checkpoints/cache"))
_BLOCK = 1 << 20


def local_path(path: str, sha256: str | None = None) -> Path:
    """The local file or folder for `path`; a URL (`https://`, `s3://`, ...) is downloaded into `CACHE` first.

    Raises:
        WorkError: the URL cannot be read, or the file does not have the digest `sha256` (hex).
    """
    if "://" not in path:
        local = Path(path)
    else:
        name = re.sub(r"[^A-Za-z0-9._-]", "_", path.rsplit("/", 1)[-1])
        local = CACHE / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}-{name}"
        if not local.exists():
            sweep(CACHE)
            _download(path, local)
    if sha256 is not None:
        _check_digest(local, sha256)
    return local


def _download(url: str, target: Path) -> None:
    import fsspec  # not on every training machine

    try:
        filesystem, remote = fsspec.core.url_to_fs(url)
        size = filesystem.info(remote).get("size")
        bar = {"desc": target.name, "total": size, "unit": "B", "unit_scale": True, "disable": None}
        with (
            replacing(target) as temporary,
            temporary.open("wb") as local,
            filesystem.open(remote, "rb") as file,
            tqdm.wrapattr(file, "read", **bar) as reader,
        ):
            shutil.copyfileobj(reader, local, _BLOCK)
            if size is not None and local.tell() != size:
                raise WorkError(f"{url} ended after {local.tell():,} of {size:,} bytes: run the same command again")
    except WorkError:
        raise
    except ImportError as error:  # fsspec names the package that the protocol needs
        raise WorkError(f"{url} cannot be read: {error}") from None
    except Exception as error:  # noqa: BLE001 (aiohttp, s3fs and others have error classes of their own)
        raise WorkError(_explain(url, error)) from None


def _explain(url: str, error: Exception) -> str:
    """One line for a failed download. fsspec raises FileNotFoundError for every HTTP failure, caused by the real one."""
    cause = error.__cause__ or error
    if isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) == 404:
        return f"{url} is not there"
    reason = " ".join(f"{type(cause).__name__} {cause}".split())
    return f"{url} cannot be read: {reason}: run the same command again"


def _check_digest(path: Path, sha256: str) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WorkError(f"{path}: {error.strerror}") from None
    if digest != sha256.lower():
        raise WorkError(f"{path} has sha256 {digest}, not {sha256}: delete it to download it again")
