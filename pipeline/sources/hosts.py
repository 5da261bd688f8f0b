"""Where the datasets' files are: on their hosts, or in a mirror that keeps the hosts' layout."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import fsspec
from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing

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
            WorkError: it is not there or cannot be reached.
        """
        address = self.locate(url)
        try:
            with fsspec.open(address, "rb") as file:
                yield file
        except FileNotFoundError:
            raise WorkError(f"{address} is not there: check `corpus` in params.yaml") from None
        except (OSError, ValueError, ImportError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise  # this machine's disk, not the host
            raise WorkError(f"{address} cannot be read: {error}") from None

    def read_text(self, url: str) -> str:
        """An annotation list, decoded as UTF-8 (a byte order mark is dropped).

        Raises:
            WorkError: missing, unreachable, larger than 512 MB, or not text.
        """
        with self.open(url) as file:
            data = file.read(_LIST_LIMIT + 1)
        if len(data) > _LIST_LIMIT:
            raise WorkError(f"{self.locate(url)} is larger than {_LIST_LIMIT >> 20} MB: not an annotation list")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise WorkError(f"{self.locate(url)} is not UTF-8 text: not an annotation list") from None

    def exists(self, url: str) -> bool:
        """Whether the file is there."""
        filesystem, path = fsspec.core.url_to_fs(self.locate(url))
        return bool(filesystem.exists(path))

    def local(self, url: str, folder: Path) -> Path:
        """The file on this machine's disk: in place when the mirror is a local folder, else copied into `folder`."""
        address = self.locate(url)
        if "://" not in address:
            if not Path(address).is_file():
                raise WorkError(f"{address} is not there: check `corpus` in params.yaml")
            return Path(address)
        target = folder / address.rsplit("/", 1)[-1]
        if target.exists():
            return target
        with self.open(url) as remote, replacing(target) as temporary, temporary.open("wb") as file:
            bar = tqdm(desc=target.name, total=getattr(remote, "size", None), unit="B", unit_scale=True, disable=None)
            with bar:
                while block := remote.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
        return target
