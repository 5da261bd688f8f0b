"""The work store: where the files of single clips are kept when the nodes of a cluster do not share a file system.

A file has the same name in the store as below the project folder; a file elsewhere gets a name made from its path.
Local copies are temporary.
"""

import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import fsspec

from common.files import replacing
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import ResampleRow, ResizeRow, TrimRow

Upstream = TypeVar("Upstream", bound="TrimRow | ResampleRow")
Made = TypeVar("Made", bound="TrimRow | ResampleRow | ResizeRow")
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Store:
    """A folder at an fsspec URL."""

    root: str

    def push(self, path: Path, *, replace: bool = False) -> None:
        """Upload a local file; without `replace`, only if the store has none of its name and size that is at least as new."""
        system, target = fsspec.core.url_to_fs(self.url(path))
        if not replace and self.size(path) == path.stat().st_size:
            with contextlib.suppress(NotImplementedError):  # some protocols keep no times
                if system.modified(target).timestamp() >= path.stat().st_mtime:
                    return
        system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        # Object stores show a file once it is complete; in a file system the rename has that effect.
        part = f"{target}.part-{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
        with path.open("rb") as local, system.open(part, "wb") as remote:
            shutil.copyfileobj(local, remote, 1 << 20)
        system.mv(part, target)

    def pull(self, path: Path) -> Path:
        """Download a file to its name below the current folder, unless it is there, and return that name.

        Raises:
            ClipError: not_found, when neither this machine nor the store has it.
        """
        local = self._name(path)
        if not local.exists():
            try:
                with fsspec.open(self.url(path), "rb") as remote, replacing(local) as part, part.open("wb") as file:
                    shutil.copyfileobj(remote, file, 1 << 20)
            except FileNotFoundError:
                raise ClipError(Failure.NOT_FOUND, f"{path} is not in {self.root}") from None
        return local

    def size(self, path: Path) -> int | None:
        """Size in bytes of the file of this name; None if there is none."""
        system, target = fsspec.core.url_to_fs(self.url(path))
        try:
            return int(system.info(target)["size"])
        except FileNotFoundError:
            return None

    def url(self, path: Path) -> str:
        """URL of the file of this name."""
        return f"{self.root.rstrip('/')}/{self._name(path).as_posix()}"

    @staticmethod
    def _name(path: Path) -> Path:
        if path.is_absolute() or ".." in path.parts:
            return Path("elsewhere", hashlib.sha256(str(path).encode()).hexdigest()[:24], path.name)
        return path


def read(path: Path, url: str | None) -> bytes:
    """The content of a clip's file, local or else in the store at `url`.

    Raises:
        FileNotFoundError: it is in neither.
    """
    if path.exists() or url is None:
        return path.read_bytes()
    with fsspec.open(Store(url).url(path), "rb") as file:
        return bytes(file.read())


@dataclass(frozen=True)
class FromStore(Generic[Upstream, Settings, Made]):
    """A work function for a machine without the clips' files: pulls the input, pushes the result, keeps neither."""

    work: Callable[[Upstream, Settings], Made]
    store: Store

    def __call__(self, row: Upstream, settings: Settings) -> Made:
        """The row of `work`, with paths as they are in the project folder."""
        source = self.store.pull(Path(row.path))
        try:
            made = self.work(dataclasses.replace(row, path=str(source)), settings)
            output = Path(made.path)
            if output == source:
                return dataclasses.replace(made, path=row.path)
            self.store.push(output, replace=True)
            output.unlink()
            return made
        finally:
            source.unlink(missing_ok=True)
