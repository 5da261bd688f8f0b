"""The bytes of shards: files of this machine, or at an fsspec URL, with a cache of the filmstrips that were read from it."""

import hashlib
import os
import time
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from common.errors import ParamError, WorkError
from common.files import has_room, sweep, write_bytes
from common.paths import SHARDS
from common.redact import redact

_FOLDER = SHARDS.as_posix()
CACHE = Path("data/clips")  # filmstrips from a URL, by digest; below the current folder
_ATTEMPTS, _WAIT_S = 3, 1.0  # of a read from a URL; the wait doubles


class Shards(Protocol):
    """Shards by their path in the manifest.

    Args:
        place: the folder or URL, for messages.
        local: whether reads of a few hundred kilobytes at any place are cheap.
    """

    place: str
    local: bool

    def read(self, shard: str, offset: int, length: int, sha256: str) -> bytes:
        """The `length` bytes at `offset` of a shard, fewer where it ends earlier; `sha256` is expected, but not checked.

        Raises:
            WorkError: the shard is missing or cannot be read.
        """
        ...

    def open(self, shard: str) -> BinaryIO:
        """A shard to read from its first byte to its last; raises errors of the file system."""
        ...


def open_shards(url: str | None, root: Path) -> Shards:
    """Shards below `root`, or below `url` (a folder or an fsspec URL) if there is one.

    Raises:
        ParamError: fsspec cannot use the URL.
    """
    if url is None:
        return LocalShards(root, _FOLDER)
    if "://" not in url:
        return LocalShards(root / url, url)
    from fsspec.core import url_to_fs  # imported here: only URLs need it

    try:
        system, path = url_to_fs(url)
    except Exception as error:  # noqa: BLE001 (a file system's own errors, of its options and credentials)
        raise ParamError(f"params.yaml: loader.shards is {redact(url)}: {_line(error)}") from None
    if getattr(system, "local_file", False) and "::" not in url:
        return LocalShards(Path(path), redact(url))
    return RemoteShards(system, path, redact(url))


class LocalShards:
    """Shards below a folder of this machine; each stays open."""

    local = True

    def __init__(self, root: Path, place: str) -> None:
        self.place = place
        self._root = root
        self._opened = cache(self._open)

    def read(self, shard: str, offset: int, length: int, sha256: str) -> bytes:  # noqa: ARG002 (only a cache needs it)
        """See `Shards.read`."""
        try:
            return os.pread(self._opened(shard), length, offset)
        except OSError as error:
            raise WorkError(f"{shard} cannot be read: {error.strerror}") from None

    def open(self, shard: str) -> BinaryIO:
        """See `Shards.open`."""
        return (self._root / shard).open("rb")

    def _open(self, shard: str) -> int:
        try:
            return os.open(self._root / shard, os.O_RDONLY)
        except FileNotFoundError:
            if self.place == _FOLDER:
                raise WorkError(f"{shard} is not here: run `make dataset`, which writes it") from None
            raise WorkError(f"{shard} is not in {self.place}: `shard.copy_to` copies shards there") from None


class RemoteShards:
    """Shards below an fsspec URL, read by byte ranges; filmstrips are kept below `CACHE` while the disk has room.

    fsspec's own caches are not used: they write in place, and so take a broken download for a whole file.
    """

    local = False

    def __init__(self, system: Any, path: str, place: str) -> None:
        self.place = place
        self._system, self._path = system, path.rstrip("/")
        sweep(CACHE)

    def read(self, shard: str, offset: int, length: int, sha256: str) -> bytes:
        """See `Shards.read`.

        Raises:
            WorkError: also if the host does not answer, three times, or ignores the range.
        """
        cached = CACHE / sha256[:2] / sha256
        if cached.exists() and (data := cached.read_bytes()) and _digest(data) == sha256:
            return data
        data = self._fetch(shard, offset, length)
        if len(data) > length:
            raise WorkError(
                f"{self.place} sends whole shards instead of byte ranges: set params.yaml: loader.storage to stream"
            )
        if _digest(data) == sha256 and has_room(CACHE, len(data)):
            write_bytes(cached, data)
        return data

    def open(self, shard: str) -> BinaryIO:
        """See `Shards.open`."""
        return cast(BinaryIO, self._system.open(f"{self._path}/{shard}", "rb"))

    def _fetch(self, shard: str, offset: int, length: int) -> bytes:
        wait = _WAIT_S
        for number in range(_ATTEMPTS):
            try:
                return bytes(self._system.cat_file(f"{self._path}/{shard}", start=offset, end=offset + length))
            except FileNotFoundError:
                raise WorkError(f"{shard} is not at {self.place}: `shard.copy_to` copies shards there") from None
            except Exception as error:  # noqa: BLE001 (aiohttp, s3fs and others have error classes of their own)
                if isinstance(error, PermissionError) or number + 1 == _ATTEMPTS:
                    raise WorkError(f"{shard} at {self.place} cannot be read: {_line(error)}") from None
                time.sleep(wait)
                wait *= 2
        raise AssertionError


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _line(error: Exception) -> str:
    """An error in one line, without credentials."""
    return redact(" ".join(f"{type(error).__name__} {error}".split()))
