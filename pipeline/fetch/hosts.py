"""Access to hosted files by their official URL: on their hosts, or in a mirror that keeps the hosts' layout."""

import errno
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import requests
from tqdm import tqdm

from common.errors import WorkError
from common.files import write_bytes, write_json
from common.paths import RAW
from pipeline.fetch.disk import Disk
from pipeline.fetch.headers import parse_count
from pipeline.fetch.http import LIBRARY_ERRORS, TAIL, NotModified, RemoteFile, RetryPolicy
from pipeline.fetch.partial import PartialFile
from pipeline.fetch.site import Site
from pipeline.records.failures import TRANSIENT, ClipError, Failure

LIST_LIMIT = 64 << 20  # bytes; the longest annotation list has 14 MB
FILE_LIMIT = 64 << 30  # bytes of one download; a part of Kinetics has about 1.5 GB
_LISTS = RAW / "lists"  # copies of the hosts' lists, for conditional requests
_NEVER = threading.Event()  # never set


class Cancelled(Exception):
    """The download was ended by the program that started it."""


@dataclass(frozen=True)
class Stream:
    """A hosted file opened for reading."""

    file: "io.BufferedReader[Any]"
    version: str | None  # strong ETag or date; None: unknown
    size: int | None  # bytes of the whole file; None: unknown


@dataclass(frozen=True)
class Hosts:
    """Opens and downloads hosted files.

    Args:
        sites: the known hosts.
        mirror: folder or fsspec URL that is read in place of the hosts; None: the hosts themselves.
        retry: for web hosts.
        disk: the budget that downloads count against.
    """

    sites: tuple[Site, ...] = ()
    mirror: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    disk: Disk = field(default_factory=lambda: Disk(RAW, None))

    @property
    def local(self) -> bool:
        """Whether the mirror is a folder on this machine, whose files are read in place."""
        return self.mirror is not None and "://" not in self.mirror

    def site(self, url: str) -> Site | None:
        """The site that the official `url` belongs to."""
        return next((site for site in self.sites if url.startswith(site.prefix)), None)

    def locate(self, url: str) -> str:
        """The address to read the official `url` from.

        Raises:
            WorkError: there is a mirror, and no site that maps the URL to a path in it.
        """
        if self.mirror is None:
            return url
        site = self.site(url)
        if site is None:
            known = ", ".join(site.prefix for site in self.sites)
            raise WorkError(f"{url} has no path in a mirror: known hosts are {known}")
        return f"{self.mirror.rstrip('/')}/{site.mirror_folder}/{url.removeprefix(site.prefix)}"

    @contextmanager
    def open(self, url: str, *, position: int = 0, version: str | None = None, tail: bytes = b"") -> Iterator[Stream]:
        """Open a file at byte `position`; `version` is that of the bytes before it, of which `tail` are the last.

        Raises:
            WorkError: it is not in the mirror, or the mirror cannot be reached.
            ClipError: a web host does not have it or cannot be reached, see `RemoteFile`; checksum_mismatch: the hosted
                file has another version.
        """
        address = self.locate(url)
        if _is_web(address):
            with (
                self._session(url) as session,
                RemoteFile(address, self.retry, session, position=position, tail=tail, version=version) as remote,
            ):
                file = io.BufferedReader(remote, 1 << 18)
                file.peek(1)  # waits for the response, which has version and size
                yield Stream(file, remote.version, remote.size)
            return
        try:
            filesystem, path = fsspec.core.url_to_fs(address)
            current = str(filesystem.ukey(path))
            if version not in (None, current):
                raise ClipError(Failure.CHECKSUM_MISMATCH, f"{address} has changed")
            with filesystem.open(path, "rb") as raw:
                raw.seek(position)
                yield Stream(io.BufferedReader(raw), current, filesystem.info(path).get("size"))
        except FileNotFoundError:
            raise WorkError(self._missing(address)) from None
        except (OSError, ValueError, ImportError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise  # this machine's disk, not the mirror
            raise WorkError(f"{address} cannot be read: {error}") from None

    def read_text(self, url: str) -> str:
        """An annotation list, decoded as UTF-8; a byte order mark is dropped.

        Raises:
            WorkError: missing, unreachable, larger than `LIST_LIMIT`, or not text.
        """
        address = self.locate(url)
        if _is_web(address):
            data = self._read_web_list(url)
        else:
            with self.open(url) as stream:
                data = stream.file.read(LIST_LIMIT + 1)
        if len(data) > LIST_LIMIT:
            raise WorkError(f"{address} is larger than {LIST_LIMIT >> 20} MB: not an annotation list")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise WorkError(f"{address} is not UTF-8 text: not an annotation list") from None

    def exists(self, url: str) -> bool:
        """Whether the file is there.

        Raises:
            ClipError: a web host cannot be reached.
        """
        address = self.locate(url)
        if _is_web(address):
            try:
                with self.open(url) as stream:
                    return bool(stream.file.read(1))
            except ClipError as error:
                if error.code in (Failure.NOT_FOUND, Failure.FORBIDDEN):  # S3 answers 403 for a missing key
                    return False
                raise
        filesystem, path = fsspec.core.url_to_fs(address)
        return bool(filesystem.exists(path))

    def size(self, url: str) -> int | None:
        """Bytes of the file; None if it is missing or its host does not give a size."""
        address = self.locate(url)
        try:
            if _is_web(address):
                with self._session(url) as session:
                    response = session.head(address, allow_redirects=True, timeout=self.retry.timeout_s)
                    return parse_count(response.headers.get("Content-Length", "")) if response.ok else None
            filesystem, path = fsspec.core.url_to_fs(address)
            return int(filesystem.info(path)["size"])
        except (*LIBRARY_ERRORS, TypeError):
            return None

    def download(self, url: str, target: Path, cancel: threading.Event = _NEVER) -> Path:
        """The path of the file on this machine: in place in a local mirror, else `target`, downloaded unless it exists.

        A download that failed or was killed continues at its last byte in the next call, also of another process, if the
        hosted file has not changed since; if it has, it starts again.

        Args:
            cancel: ends the download at the next bytes that are received after it is set.

        Raises:
            WorkError: the mirror does not have it, or the disk budget is exceeded.
            ClipError: see `RemoteFile`; too_large: the file has more than `FILE_LIMIT` bytes, none of which are kept.
            Cancelled: `cancel` was set.
        """
        address = self.locate(url)
        if self.local:
            if not Path(address).is_file():
                raise WorkError(self._missing(address))
            return Path(address)
        if target.exists():
            return target
        partial = PartialFile(address, target)
        try:
            self._receive(url, partial, cancel)
        except ClipError as error:
            if error.code in (Failure.CHECKSUM_MISMATCH, Failure.TOO_LARGE):
                partial.discard(self.disk)
            if error.code is Failure.CHECKSUM_MISMATCH and partial.position:  # bytes of an older version
                return self.download(url, target, cancel)
            raise
        partial.finish()
        return target

    def discard(self, url: str, target: Path) -> None:
        """Delete what `download` has written, finished or not; a file in a local mirror is left alone."""
        if not self.local:
            PartialFile(self.locate(url), target).discard(self.disk)
            self.disk.delete(target)

    def _missing(self, address: str) -> str:
        return f"{address} is not there" + ("" if self.mirror is None else ": check `corpus` in params.yaml")

    def _receive(self, url: str, partial: PartialFile, cancel: threading.Event) -> None:
        if partial.whole:
            return
        name = partial.target.name
        tail = partial.tail(TAIL)
        with self.open(url, position=partial.position, version=partial.version, tail=tail) as stream:
            _check_size(stream.size or 0, url)
            self.disk.check((stream.size or 0) - partial.position, name)
            bar = tqdm(
                desc=name,
                total=stream.size,
                initial=partial.position,
                unit="B",
                unit_scale=True,
                leave=False,
                disable=None,
            )
            with partial.open(stream.version, stream.size) as file, bar:
                while block := stream.file.read1(1 << 20):
                    _check_size(file.tell() + len(block), url)
                    if cancel.is_set():
                        raise Cancelled
                    if not _is_web(self.locate(url)):  # `RemoteFile` counts its own
                        self.retry.rate_limit.acquire(len(block), self.retry.sleep)
                    self.disk.reserve(len(block), name)
                    file.write(block)
                    bar.update(len(block))

    def _read_web_list(self, url: str) -> bytes:
        """A list from the web, or the copy of an earlier run if it is unchanged or its host cannot be reached."""
        address = self.locate(url)
        name = hashlib.sha256(address.encode()).hexdigest()[:16]
        copy, note = _LISTS / name, _LISTS / f"{name}.json"
        try:
            version = json.loads(note.read_text())["version"] if copy.exists() else None
        except (OSError, ValueError, KeyError, TypeError):
            version = None
        try:
            with (
                self._session(url) as session,
                RemoteFile(address, self.retry, session, if_not_version=version) as remote,
            ):
                data = io.BufferedReader(remote).read(LIST_LIMIT + 1)
        except NotModified:
            return copy.read_bytes()
        except ClipError as error:
            if copy.exists() and error.code in TRANSIENT:
                tqdm.write(f"{error}; going on with the list of an earlier run")
                return copy.read_bytes()
            raise WorkError(f"the list cannot be downloaded: {error}; run the same command again to continue") from None
        if len(data) <= LIST_LIMIT:
            write_bytes(copy, data)
            write_json(note, {"version": remote.version})
        return data

    def _session(self, url: str) -> requests.Session:
        session = self.retry.open_session()
        site = self.site(url)
        if site is not None and self.mirror is None:
            session.verify = (site.certificates or True) if site.verify else False
        return session


def _check_size(size: int, url: str) -> None:
    if size > FILE_LIMIT:
        raise ClipError(Failure.TOO_LARGE, f"{url} has more than {FILE_LIMIT >> 30} GB")


def _is_web(address: str) -> bool:
    return address.startswith(("http://", "https://"))
