"""The work store: where the files of single clips live when this machine and a cluster's do not share a file system.

Every file has the same name in the store as below the project folder, or, if it lies elsewhere, a name made from its
whole path. Local copies come and go.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from common.files import replacing
from pipeline.records.failures import ClipError, Failure


@dataclass(frozen=True)
class Store:
    """A folder at an fsspec URL."""

    root: str

    def push(self, path: Path, *, replace: bool = False) -> None:
        """Upload a local file, unless the store has one of its name and size that is no older; `replace` asks nothing."""
        system, target = fsspec.core.url_to_fs(self.url(path))
        if not replace and self.size(path) == path.stat().st_size:
            with contextlib.suppress(NotImplementedError):  # some protocols keep no times
                if system.modified(target).timestamp() >= path.stat().st_mtime:
                    return
        system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        # Object stores show a file when it is whole; in a file system the rename does that.
        part = f"{target}.part-{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
        with path.open("rb") as given, system.open(part, "wb") as made:
            shutil.copyfileobj(given, made, 1 << 20)
        system.mv(part, target)

    def pull(self, path: Path) -> Path:
        """Download a file to its name below the present folder, unless it is there, and return that name.

        Raises:
            ClipError: not_found, when neither this machine nor the store has it.
        """
        local = self._name(path)
        if not local.exists():
            try:
                with fsspec.open(self.url(path), "rb") as given, replacing(local) as part, part.open("wb") as made:
                    shutil.copyfileobj(given, made, 1 << 20)
            except FileNotFoundError:
                raise ClipError(Failure.NOT_FOUND, f"{path} is not in {self.root}") from None
        return local

    def size(self, path: Path) -> int | None:
        """Bytes of the file of this name, or None where there is none."""
        system, target = fsspec.core.url_to_fs(self.url(path))
        try:
            return int(system.info(target)["size"])
        except FileNotFoundError:
            return None

    def url(self, path: Path) -> str:
        """Where the file of this name is in the store."""
        return f"{self.root.rstrip('/')}/{self._name(path).as_posix()}"

    @staticmethod
    def _name(path: Path) -> Path:
        if path.is_absolute() or ".." in path.parts:
            return Path("elsewhere", hashlib.sha256(str(path).encode()).hexdigest()[:24], path.name)
        return path


def read(path: Path, url: str | None) -> bytes:
    """A clip's file, from here, else from the store at `url`.

    Raises:
        FileNotFoundError: it is in neither.
    """
    if path.exists() or url is None:
        return path.read_bytes()
    with fsspec.open(Store(url).url(path), "rb") as file:
        return bytes(file.read())


@dataclass(frozen=True)
class FromStore:
    """`work` of `(row, params)` for a machine that has none of the clips' files: fetched before, sent after, not kept."""

    work: Callable[..., dict[str, Any]]
    store: Store

    def __call__(self, row: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """The values of `work`, with paths as they are in the project folder."""
        source = self.store.pull(Path(row["path"]))
        try:
            values = self.work({**row, "path": str(source)}, params)
            made = Path(values["path"])
            if made == source:
                return {**values, "path": row["path"]}
            self.store.push(made, replace=True)
            made.unlink()
            return values
        finally:
            source.unlink(missing_ok=True)
