"""Selected members of hosted archives, written to disk. Member names are only compared, never used as paths.

Nothing in an archive is trusted: sizes and counts are bounded, and only regular files are written.
"""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from common.files import replacing, write_json
from pipeline.fetch.background import BackgroundDownload
from pipeline.fetch.disk import Disk
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.partial import partial_path
from pipeline.fetch.tars import RATIO_LIMIT, read_tar, tar_errors
from pipeline.fetch.zips import open_member
from pipeline.records.failures import ClipError, Failure

MEMBER_LIMIT = 256 << 20  # bytes; a clip of ten seconds has 1 to 5 MB
_BLOCK = 256 << 10

MemberFilter = Callable[[str], Path | None]  # member name -> where to write it, None: skip it


class TarArchive:
    """One hosted tar archive of clips, plain or gzipped.

    The archive is downloaded to a spool file, which is deleted once it has been read; an archive in a local mirror is
    read in place. The member list is kept.

    Attributes:
        url: the official one.
        names: members in order, as far as the archive has been read; a byte that is not UTF-8 is `?`.
        rejected: members that were selected but are too large, with the reason.
        complete: whether the archive has been read to its end, in this run or an earlier one.
    """

    def __init__(self, hosts: Hosts, url: str, folder: Path) -> None:
        """`folder` holds the spool file and the member list."""
        self.url, self._hosts = url, hosts
        name = "-".join(url.split("/")[-2:])  # parts of several splits have the same last component
        self._spool, self._list = folder / name, folder / f"{name}.json"
        self._resumed = self._spool.exists() or partial_path(self._spool).exists()
        self._download = BackgroundDownload(hosts, url, self._spool)
        self.names: list[str] = []
        self.rejected: dict[str, str] = {}
        self.complete = self._load_list()

    def prefetch(self) -> None:
        """Start downloading to the spool file in a background thread; no-op for a local mirror and if complete."""
        if not self.complete and not self._hosts.local:
            self._download.start()

    def discard(self) -> None:
        """Stop a prefetch and delete the spool file."""
        self._download.stop()
        self._hosts.discard(self.url, self._spool)

    def extract(self, new_filter: Callable[[], MemberFilter]) -> None:
        """Download the archive, or wait for its prefetch, and write the selected members that do not exist yet.

        Args:
            new_filter: returns a filter that has seen no member yet; the filter is called with every member in order.

        Raises:
            ClipError: connection, timeout, ...: see `Hosts.download`. truncated, too_large or checksum_mismatch: the
                archive is damaged. Members before the damage are kept, except after checksum_mismatch: nothing that this
                call wrote is kept then.
        """
        try:
            self._extract(new_filter())
        except ClipError as error:
            if error.code is not Failure.CHECKSUM_MISMATCH or not self._resumed:
                raise
            self._resumed = False  # the bytes of an earlier run may have been damaged by a power cut
            self._extract(new_filter())

    def _extract(self, select: MemberFilter) -> None:
        download_error: ClipError | None = None
        try:
            path = self._download.result()
        except ClipError as error:
            download_error, path = error, partial_path(self._spool)  # the members in it that are whole are kept
            if not path.exists():
                raise
        try:
            self._read(path, select)
        except ClipError as error:
            if download_error is not None and error.code is not Failure.CHECKSUM_MISMATCH:
                raise download_error from None
            self.discard()
            raise
        if download_error is not None:
            raise download_error
        self.complete = True
        write_json(self._list, {"names": self.names, "rejected": self.rejected})
        self.discard()

    def _read(self, path: Path, select: MemberFilter) -> None:
        names: list[str] = []
        rejected: dict[str, str] = {}
        written: list[Path] = []
        complete = False
        try:
            for member, content in read_tar(path):
                target = select(member.name)
                if target is not None and not target.exists():
                    if member.size > MEMBER_LIMIT:
                        rejected[member.name] = _over_member_limit(member.name, member.size)
                    elif member.issparse():  # a few bytes could stand for a file of any size
                        rejected[member.name] = f"{member.name} is a sparse file of {member.size:,} bytes"
                    else:
                        with self._hosts.disk.reserved(member.size, member.name):
                            _write(content, target)
                        written.append(target)
                names.append(member.name.encode(errors="replace").decode())
            complete = True
        except ClipError as error:
            if error.code is Failure.CHECKSUM_MISMATCH:
                for target in written:
                    self._hosts.disk.delete(target)
            raise
        finally:
            if complete or not self.complete:  # the list of a complete reading is better than that of a failed one
                self.names, self.rejected = names, rejected

    def _load_list(self) -> bool:
        try:
            saved = json.loads(self._list.read_text())
            self.names, self.rejected = [str(name) for name in saved["names"]], dict(saved["rejected"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True


def remove_spools(folder: Path, disk: Disk) -> None:
    """Delete spool files that interrupted runs left in the `folder` of some `TarArchive`s; member lists stay."""
    for path in folder.glob("*"):
        if path.suffix != ".json" or path.name.startswith("."):
            disk.delete(path)


def extract_zip_member(archive: zipfile.ZipFile, name: str, target: Path, disk: Disk) -> None:
    """Write one member of an open zip file to `target`, counted against the budget of `disk`.

    Raises:
        ClipError: not_found, truncated (the member is damaged), or too_large.
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ClipError(Failure.NOT_FOUND, f"the archive has no member {name}") from None
    if info.file_size > MEMBER_LIMIT:
        raise ClipError(Failure.TOO_LARGE, _over_member_limit(name, info.file_size))
    if info.file_size > RATIO_LIMIT * info.compress_size:
        raise ClipError(
            Failure.TOO_LARGE,
            f"{name} unpacks from {info.compress_size:,} to {info.file_size:,} bytes: "
            f"the limit for a video is {RATIO_LIMIT} times its packed size",
        )
    with (
        disk.reserved(info.file_size, name),
        open_member(archive, info) as content,
        replacing(target) as temporary,
        temporary.open("wb") as out,
    ):
        shutil.copyfileobj(content, out, _BLOCK)


def _over_member_limit(name: str, size: int) -> str:
    return f"{name} has {size:,} bytes: the limit for one clip is {MEMBER_LIMIT >> 20} MB"


def _write(content: IO[bytes], target: Path) -> None:
    with tar_errors(), replacing(target) as temporary, temporary.open("wb") as out:
        shutil.copyfileobj(content, out, _BLOCK)
