"""The files below a folder, each with its size, or with the reason why it cannot be read. Nothing is opened but folders."""

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.records.failures import ClipError, Failure
from pipeline.sources.extensions import HIDDEN, other_kind

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_CHUNK = 1000  # bytes of a path that are opened at once; every system accepts 1,024
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True)
class Found:
    """A file below the root; or a link, special file or folder that cannot be read.

    Args:
        name: path relative to the root, with `/`; bytes that are not UTF-8 are surrogates, as in `os.fsdecode`.
        size: bytes.
        kind: of a file that is not a video, see `other_kind`; such files are not examined further.
        error: the reason why it cannot be read.
    """

    name: str
    size: int = 0
    kind: str | None = None
    error: ClipError | None = None


def list_files(root: Path, *, follow_links: bool, videos: Collection[str] = ()) -> list[Found]:
    """Every file below `root`, sorted by path.

    Links to folders are followed only with `follow_links`, after all other folders, and to each folder once. Links to
    files must lead to a file below `root`, unless `follow_links`.

    Args:
        videos: paths relative to `root` of files that are videos by any name.

    Raises:
        OSError: `root` itself cannot be read.
    """
    found: list[Found] = []
    first_names: dict[tuple[int, int], str] = {}  # of the folders read so far, by device and inode
    folders, links = [""], list[str]()
    while folders or links:
        is_link = not folders
        name = links.pop(0) if is_link else folders.pop()
        try:
            with _open_folder(root, name) as descriptor:
                status = os.fstat(descriptor)
                identity = (status.st_dev, status.st_ino)
                if is_link and identity in first_names:
                    raise ClipError(
                        Failure.UNSAFE_PATH, f"a link to a folder that is read already: {root / first_names[identity]}"
                    )
                first_names.setdefault(identity, name)
                entries = list(os.scandir(descriptor))
                for entry in sorted(entries, key=lambda entry: entry.name):
                    path = f"{name}/{entry.name}" if name else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    elif not entry.is_symlink() or not _is_folder(entry):
                        kind = None if path in videos else other_kind(path)
                        found.append(
                            Found(path, kind=kind)
                            if kind is not None
                            else _examine(root, path, is_link=entry.is_symlink(), follow_links=follow_links)
                        )
                    elif follow_links and other_kind(path) != HIDDEN:
                        links.append(path)
                    else:
                        found.append(_unread_link(path))
        except OSError as error:
            if not name:
                raise
            found.append(_unread(name, _reason(error, root / name, "folder", is_link=is_link)))
        except ClipError as error:
            found.append(_unread(name, error))
        links.sort(key=_parts)
    return sorted(found, key=lambda file: _parts(file.name))


def printable_path(path: str | Path) -> str:
    """A path as valid UTF-8: each byte that is not UTF-8 is written as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _parts(name: str) -> list[str]:
    return name.split("/")


@contextmanager
def _open_folder(root: Path, name: str) -> Iterator[int]:
    """A descriptor of a folder, opened in steps, because its whole path may be longer than the system accepts."""
    descriptor = os.open(root, _FOLDER)
    try:
        for part in _chunks(name):
            deeper = os.open(part, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


def _chunks(name: str) -> Iterator[bytes]:
    """The path in pieces of whole names, each as long as `_CHUNK` allows."""
    chunk = b""
    for part in os.fsencode(name).split(b"/"):
        if chunk and len(chunk) + len(part) >= _CHUNK:
            yield chunk
            chunk = b""
        chunk = chunk + b"/" + part if chunk else part
    if chunk:
        yield chunk


def _is_folder(link: "os.DirEntry[str]") -> bool:
    """Whether a link leads to a folder; not if it is dangling or a loop."""
    try:
        return link.is_dir()
    except OSError:
        return False


def _examine(root: Path, name: str, *, is_link: bool, follow_links: bool) -> Found:
    """A file, link or special file; it is not opened, because a pipe or a device would block."""
    path = root / name
    try:
        if not _is_utf8(name):
            raise ClipError(Failure.UNSAFE_PATH, f"the path is not UTF-8, rename it: {printable_path(path)}")
        if is_link and not follow_links and not _is_inside(path, root):
            raise ClipError(
                Failure.UNSAFE_PATH, f"{path} is a link out of its folder; set follow_links: true to allow such links"
            )
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind_of_file = _SPECIAL.get(stat.S_IFMT(status.st_mode), "a special file")
            raise ClipError(Failure.UNSAFE_PATH, f"{path} is {kind_of_file}, not a regular file")
    except OSError as error:
        return Found(name, error=_reason(error, path, "file", is_link=is_link))
    except ClipError as error:
        return Found(name, error=error)
    return Found(name, status.st_size)


def _is_utf8(name: str) -> bool:
    """Whether a file name, as `os.fsdecode` returns it, is valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_inside(link: Path, root: Path) -> bool:
    # Not Path.resolve: it raises RuntimeError for a link that leads back to itself.
    return Path(os.path.realpath(link)).is_relative_to(os.path.realpath(root))


def _unread(name: str, error: ClipError) -> Found:
    """A folder that cannot be read; a hidden one would have held hidden files only."""
    return Found(name, kind=HIDDEN) if other_kind(name) == HIDDEN else Found(name, error=error)


def _unread_link(name: str) -> Found:
    detail = f"{printable_path(name)} is a link to a folder; set follow_links: true to read it"
    return _unread(name, ClipError(Failure.UNSAFE_PATH, detail))


def _reason(error: OSError, path: Path, what: str, *, is_link: bool) -> ClipError:
    """The failure of a file or folder that the system does not open."""
    shown = printable_path(path)
    match error.errno:
        case errno.ENOENT if is_link:
            return ClipError(Failure.NOT_FOUND, f"{shown} is a link to a file that does not exist")
        case errno.ENOENT:
            return ClipError(Failure.NOT_FOUND, f"the {what} was deleted while its folder was read: {shown}")
        case errno.ELOOP:
            return ClipError(Failure.UNSAFE_PATH, f"{shown} is a link that leads back to itself")
        case errno.ENAMETOOLONG:
            size = len(os.fsencode(path))
            return ClipError(Failure.UNSAFE_PATH, f"the path has {size:,} bytes, more than the system opens: {shown}")
        case errno.EACCES | errno.EPERM:
            return ClipError(Failure.FORBIDDEN, f"no permission to read the {what} {shown}")
    return ClipError(Failure.UNREADABLE_CONTAINER, f"the {what} cannot be read, {error.strerror}: {shown}")
