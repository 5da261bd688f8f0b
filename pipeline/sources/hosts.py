"""Where the datasets' files are: on their hosts, or in a mirror that keeps the hosts' layout."""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import fsspec
import requests
from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing
from pipeline.failures import ClipError, Failure
from pipeline.sources.http import Manners, RemoteFile, fetch

# Each host's folder and its name in a mirror.
_FOLDERS = {
    "https://s3.amazonaws.com/kinetics/": "kinetics/",
    "https://raw.githubusercontent.com/s9xie/Mini-Kinetics-200/master/": "mini-kinetics-200/",
    "https://www.crcv.ucf.edu/datasets/ugur/": "tinyvirat/",
    "https://www.crcv.ucf.edu/tiny-actions-challenge-cvpr2021/data/": "tinyvirat/",
}
_LIST_LIMIT = 512 << 20  # no annotation list comes near; what is larger is not one


@dataclass(frozen=True)
class Hosts:
    """Opens hosted files by their official URL. `mirror` is a folder or fsspec URL in their place; None for the hosts."""

    mirror: str | None = None
    manners: Manners = field(default_factory=Manners)
    certificates: str | None = None  # PEM bundle for TinyVIRAT's host, whose own chain is often incomplete
    verify: bool = True  # False: believe TinyVIRAT's host without a certificate

    def locate(self, url: str) -> str:
        """The address that stands for the official `url`."""
        if self.mirror is None:
            return url
        for host, folder in _FOLDERS.items():
            if url.startswith(host):
                return f"{self.mirror.rstrip('/')}/{folder}{url.removeprefix(host)}"
        raise WorkError(f"{url} has no place in a mirror: known hosts are {', '.join(_FOLDERS)}")

    @contextmanager
    def open(self, url: str) -> Iterator[IO[bytes]]:
        """Open the file for reading from its beginning.

        Raises:
            WorkError: it is not in the mirror, or the mirror cannot be reached.
            ClipError: a web host does not have it or cannot be reached; see `RemoteFile`.
        """
        address = self.locate(url)
        if address.startswith(("http://", "https://")):
            with self._session(address) as session, RemoteFile(address, self.manners, session) as remote:
                yield io.BufferedReader(remote, 1 << 18)
            return
        try:
            with fsspec.open(address, "rb") as file:
                yield file
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
        try:
            with self.open(url) as file:
                data = file.read(_LIST_LIMIT + 1)
        except ClipError as error:
            raise WorkError(f"the list cannot be had: {error}; run the same command again to carry on") from None
        if len(data) > _LIST_LIMIT:
            raise WorkError(f"{self.locate(url)} is larger than {_LIST_LIMIT >> 20} MB: not an annotation list")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise WorkError(f"{self.locate(url)} is not UTF-8 text: not an annotation list") from None

    def exists(self, url: str) -> bool:
        """Whether the file is there.

        Raises:
            ClipError: a web host does not say.
        """
        address = self.locate(url)
        if address.startswith(("http://", "https://")):
            try:
                with self.open(url) as file:
                    return bool(file.read(1))
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
            if address.startswith(("http://", "https://")):
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
        if address.startswith(("http://", "https://")):
            try:
                with self._session(address) as session:
                    fetch(address, target, self.manners, session)
            except ClipError as error:
                advice = "run the same command again to carry on"
                if "certificate" in error.detail:
                    advice = "name its chain in download.tinyvirat_ca, or set download.tinyvirat_verify: false"
                raise WorkError(f"{error}; {advice}") from None
            return target
        with self.open(url) as remote, replacing(target) as temporary, temporary.open("wb") as file:
            bar = tqdm(desc=target.name, total=getattr(remote, "size", None), unit="B", unit_scale=True, disable=None)
            with bar:
                while block := remote.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
        return target
