"""Checkpoints at URLs: fetched once, by fsspec, into a cache; a download that broke carries on; sums are checked."""

import hashlib
import json
import os
import re
from pathlib import Path

from tqdm import tqdm

from common.errors import WorkError
from common.files import write_json

CACHE = Path(os.environ.get("CHECKPOINT_CACHE", "checkpoints/cache"))
_BLOCK = 1 << 20


def local(path: str, sha256: str | None = None) -> Path:
    """The file or folder at `path`; a URL (`https://`, `s3://`, ...) is fetched into `CACHE` first.

    Raises:
        WorkError: it cannot be had, or its sha256 is another than the given one.
    """
    if "://" not in path:
        return _checked(Path(path), sha256) if sha256 else Path(path)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", path.rsplit("/", 1)[-1]) or "checkpoint"
    target = CACHE / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}-{name}"
    if not target.exists():
        _fetch(path, target)
    return _checked(target, sha256) if sha256 else target


def _fetch(url: str, target: Path) -> None:
    import fsspec

    part, note = (target.with_name(f".part-{target.name}{suffix}") for suffix in ("", ".json"))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        system, path = fsspec.core.url_to_fs(url)
        about = system.info(path)
        version = {"url": url, "size": about.get("size"), "etag": str(about.get("ETag") or about.get("mtime") or "")}
        begin = part.stat().st_size if _same(note, version) and part.exists() else 0
        write_json(note, version)
        with (
            system.open(path, "rb") as given,
            part.open("ab" if begin else "wb") as made,
            tqdm(
                desc=target.name, total=version["size"], initial=begin, unit="B", unit_scale=True, disable=None
            ) as bar,
        ):
            if begin:
                given.seek(begin)
            while block := given.read(_BLOCK):
                made.write(block)
                bar.update(len(block))
            os.fsync(made.fileno())
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError):  # fsspec's word for a host that does not answer
            raise WorkError(f"{url} cannot be read: {error.__cause__}") from None
        raise WorkError(f"{url} is not there") from None
    except ImportError as error:
        raise WorkError(f"{url}: {error}") from None
    except (OSError, ValueError) as error:
        raise WorkError(
            f"{url} cannot be read: {error or type(error).__name__}; run the same again to carry on"
        ) from None
    except Exception as error:  # aiohttp's errors are its own
        raise WorkError(
            f"{url} cannot be read: {type(error).__name__} {error}; run the same again to carry on"
        ) from None
    if version["size"] is not None and part.stat().st_size != version["size"]:
        raise WorkError(
            f"{url} ended after {part.stat().st_size:,} of {version['size']:,} bytes; run the same again to carry on"
        )
    part.replace(target)
    note.unlink(missing_ok=True)


def _same(note: Path, version: dict[str, object]) -> bool:
    try:
        return bool(json.loads(note.read_text()) == version)
    except (OSError, ValueError):
        return False


def _checked(path: Path, sha256: str) -> Path:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WorkError(f"{path}: {error.strerror}") from None
    if found != sha256:
        raise WorkError(f"{path} has sha256 {found}, not {sha256}: delete it and fetch it again")
    return path
