"""Where the datasets' files are: on their hosts, or in a mirror that keeps the hosts' layout."""

import errno
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import fsspec
import requests
from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing, write_bytes, write_json
from common.paths import RAW
from pipeline.fetch.disk import Disk
from pipeline.fetch.http import Manners, NotModified, RemoteFile, fetch
from pipeline.records.failures import TRANSIENT, ClipError, Failure

# Each host's folder and its name in a mirror.
_FOLDERS = {
    "https://www.youtube.com/watch?v=": "youtube/",
    "https://s3.amazonaws.com/kinetics/": "kinetics/",
    "https://raw.githubusercontent.com/s9xie/Mini-Kinetics-200/master/": "mini-kinetics-200/",
    "https://www.crcv.ucf.edu/datasets/ugur/": "tinyvirat/",
    "https://www.crcv.ucf.edu/tiny-actions-challenge-cvpr2021/data/": "tinyvirat/",
}
_LIST_LIMIT = 64 << 20  # bytes; the longest annotation list has 14 MB
_LISTS = RAW / "lists"  # as the hosts gave them, to ask only whether they have changed


@dataclass(frozen=True)
class Stream:
    """A hosted file that is being read, and which version of it (None: nobody says)."""

    file: IO[bytes]
    version: str | None


@dataclass(frozen=True)
class Hosts:
    """Opens hosted files by their official URL. `mirror` is a folder or fsspec URL in their place; None for the hosts."""

    mirror: str | None = None
    manners: Manners = field(default_factory=Manners)
    certificates: str | None = None  # PEM bundle for TinyVIRAT's host, whose own chain is often incomplete
    verify: bool = True  # False: believe TinyVIRAT's host without a certificate
    disk: Disk = field(default_factory=lambda: Disk(RAW, None))

    def locate(self, url: str) -> str:
        """The address that stands for the official `url`."""
        if self.mirror is None:
            return url
        for host, folder in _FOLDERS.items():
            if url.startswith(host):
                return f"{self.mirror.rstrip('/')}/{folder}{url.removeprefix(host)}"
        raise WorkError(f"{url} has no place in a mirror: known hosts are {', '.join(_FOLDERS)}")

    @contextmanager
    def open(self, url: str, *, position: int = 0, version: str | None = None) -> Iterator[Stream]:
        """Open the file for reading from byte `position` on, if it is still of the `version` that the bytes before it had.

        Raises:
            WorkError: it is not in the mirror, or the mirror cannot be reached.
            ClipError: a web host does not have it or cannot be reached, see `RemoteFile`; checksum_mismatch: it is of
                another version.
        """
        address = self.locate(url)
        if _on_the_web(address):
            with (
                self._session(address) as session,
                RemoteFile(address, self.manners, session, position=position, version=version) as remote,
            ):
                file = io.BufferedReader(remote, 1 << 18)
                file.peek(1)  # the answer's head is here now
                yield Stream(file, remote.version)
            return
        try:
            filesystem, path = fsspec.core.url_to_fs(address)
            now = str(filesystem.ukey(path))
            if version not in (None, now):
                raise ClipError(Failure.CHECKSUM_MISMATCH, f"{address} has changed")
            with filesystem.open(path, "rb") as file:
                file.seek(position)
                yield Stream(file, now)
        except FileNotFoundError:
            raise WorkError(f"{address} is not there: check `corpus` in params.yaml") from None
        except (OSError, ValueError, ImportError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise  # this machine's disk, not the host
            raise WorkError(f"{address} cannot be read: {error}") from None

    def _session(self, address: str) -> requests.Session:
        session = requests.Session()
        if "crcv.ucf.edu" in address.split("/")[2]:
            session.verify = (self.certificates or True) if self.verify else False
        return session

    def read_text(self, url: str) -> str:
        """An annotation list, decoded as UTF-8 (a byte order mark is dropped).

        Raises:
            WorkError: missing, unreachable, larger than 512 MB, or not text.
        """
        address = self.locate(url)
        if _on_the_web(address):
            data = self._list(address)
        else:
            with self.open(url) as stream:
                data = stream.file.read(_LIST_LIMIT + 1)
        if len(data) > _LIST_LIMIT:
            raise WorkError(f"{self.locate(url)} is larger than {_LIST_LIMIT >> 20} MB: not an annotation list")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise WorkError(f"{self.locate(url)} is not UTF-8 text: not an annotation list") from None

    def _list(self, address: str) -> bytes:
        """A list from the web; what an earlier run got is taken when the host says it is unchanged, or says nothing."""
        name = hashlib.sha256(address.encode()).hexdigest()[:16]
        kept, note = _LISTS / name, _LISTS / f"{name}.json"
        try:
            version = json.loads(note.read_text())["version"] if kept.exists() else None
        except (OSError, ValueError, KeyError, TypeError):
            version = None
        try:
            with (
                self._session(address) as session,
                RemoteFile(address, self.manners, session, unless=version) as remote,
            ):
                data = io.BufferedReader(remote).read(_LIST_LIMIT + 1)
        except NotModified:
            return kept.read_bytes()
        except ClipError as error:
            if kept.exists() and error.code in TRANSIENT:
                tqdm.write(f"{error}; going on with the list of an earlier run")
                return kept.read_bytes()
            raise WorkError(f"the list cannot be had: {error}; run the same command again to carry on") from None
        if len(data) <= _LIST_LIMIT:
            write_bytes(kept, data)
            write_json(note, {"url": address, "version": remote.version})
        return data

    def exists(self, url: str) -> bool:
        """Whether the file is there.

        Raises:
            ClipError: a web host does not say.
        """
        address = self.locate(url)
        if _on_the_web(address):
            try:
                with self.open(url) as stream:
                    return bool(stream.file.read(1))
            except ClipError as error:
                if error.code in (Failure.NOT_FOUND, Failure.FORBIDDEN):  # S3 forbids what is not there
                    return False
                raise
        filesystem, path = fsspec.core.url_to_fs(address)
        return bool(filesystem.exists(path))

    def size(self, url: str) -> int | None:
        """Bytes of the file, or None where nobody says."""
        address = self.locate(url)
        try:
            if _on_the_web(address):
                with self._session(address) as session:
                    answer = session.head(address, allow_redirects=True, timeout=self.manners.timeout_s)
                    length = answer.headers.get("Content-Length", "")
                    return int(length) if answer.ok and length.isdigit() else None
            filesystem, path = fsspec.core.url_to_fs(address)
            return int(filesystem.info(path)["size"])
        except (OSError, ValueError, KeyError, TypeError):  # requests' errors are OSErrors
            return None

    def local(self, url: str, folder: Path) -> Path:
        """The file on this machine's disk: in place when the mirror is a local folder, else copied into `folder`.

        Raises:
            WorkError: it cannot be had; what has come is kept, and the next run carries on from there.
        """
        address = self.locate(url)
        if "://" not in address:
            if not Path(address).is_file():
                raise WorkError(f"{address} is not there: check `corpus` in params.yaml")
            return Path(address)
        target = folder / address.rsplit("/", 1)[-1]
        if target.exists():
            return target
        self.disk.spend(self.size(url) or 0, target.name)
        if _on_the_web(address):
            try:
                with self._session(address) as session:
                    fetch(address, target, self.manners, session)
            except ClipError as error:
                advice = "run the same command again to carry on"
                if "certificate" in error.detail:
                    advice = "name its chain in download.tinyvirat_ca, or set download.tinyvirat_verify: false"
                raise WorkError(f"{error}; {advice}") from None
            return target
        with self.open(url) as stream, replacing(target) as temporary, temporary.open("wb") as file:
            bar = tqdm(desc=target.name, total=self.size(url), unit="B", unit_scale=True, disable=None)
            with bar:
                while block := stream.file.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
        return target


def _on_the_web(address: str) -> bool:
    return address.startswith(("http://", "https://"))
