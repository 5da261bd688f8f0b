"""Selected members of hosted archives, written to disk. Member names are only compared, never used as paths.

Nothing in an archive is trusted: sizes and counts are bounded, only regular files are written, and a damaged header or
a missing end mark is an error, not the end of the archive.
"""

import gzip
import io
import json
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from common.files import replacing, write_json
from pipeline.fetch.background import BackgroundDownload
from pipeline.fetch.disk import Disk
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.partial import partial_path
from pipeline.fetch.zips import typed_errors
from pipeline.records.failures import ClipError, Failure

MEMBER_LIMIT = 256 << 20  # bytes; a clip of ten seconds has 1 to 5 MB
ARCHIVE_LIMIT = 64 << 30  # bytes unpacked; a part of Kinetics has about 2 GB
MEMBER_COUNT_LIMIT = 1_000_000
HEADER_LIMIT = 1 << 20  # bytes of an extended header: a name and a few numbers

MemberFilter = Callable[[str], Path | None]  # member name -> where to write it, None: skip it

_EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class TarArchive:
    """One hosted tar archive of clips, plain or gzipped.

    The archive is downloaded to a spool file, which is deleted once it has been read; an archive in a local mirror is
    read in place. The member list is kept.

    Attributes:
        url: the official one.
        names: members in order, as far as the archive has been read.
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
                    else:
                        self._hosts.disk.reserve(member.size, member.name)
                        _write(content, target)
                        written.append(target)
                names.append(member.name)
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


def read_tar(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular members of a tar or tar.gz in order, with their content; links, devices and folders are skipped.

    Raises:
        ClipError: truncated: the archive ends before its end mark, or a header is damaged; checksum_mismatch: its
            compressed data is damaged; too_large: it has more bytes, members or header bytes than any archive of clips.
    """
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        reader = _BoundedReader(gzip.GzipFile(fileobj=file) if is_gzip else file)
        stream = cast(IO[bytes], reader)  # tarfile calls `read` alone
        with _typed_errors(), tarfile.open(fileobj=stream, mode="r|", tarinfo=_CheckedHeader, bufsize=1 << 18) as tar:
            count = 0
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header
                count += 1
                if count > MEMBER_COUNT_LIMIT:
                    raise ClipError(Failure.TOO_LARGE, f"the archive has more than {MEMBER_COUNT_LIMIT:,} members")
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member, content
        while reader.read(1 << 20):  # padding, and after it the checksum of the compressed data
            pass


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
    disk.reserve(info.file_size, name)
    with typed_errors(name), archive.open(info) as content, replacing(target) as temporary, temporary.open("wb") as out:
        shutil.copyfileobj(content, out, 1 << 18)


def _over_member_limit(name: str, size: int) -> str:
    return f"{name} has {size:,} bytes: the limit for one clip is {MEMBER_LIMIT >> 20} MB"


def _write(content: IO[bytes], target: Path) -> None:
    with _typed_errors(), replacing(target) as temporary, temporary.open("wb") as out:
        shutil.copyfileobj(content, out, 1 << 18)


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Turn errors of tarfile into a ClipError."""
    try:
        yield
    # Invalid numbers in headers are Value- or OverflowErrors; tarfile recurses into a chain of extended headers.
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise ClipError(Failure.TRUNCATED, f"the archive is cut short or damaged: {error}") from None


class _BoundedReader:
    """Reads the unpacked bytes of an archive; damage and excess are raised as ClipError."""

    def __init__(self, file: gzip.GzipFile | io.BufferedReader) -> None:
        self._file, self._count = file, 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        try:
            data = self._file.read1(size)  # `read` would lose the bytes before an error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ClipError(Failure.CHECKSUM_MISMATCH, f"the archive is damaged: {error}") from None
        except EOFError as error:
            raise ClipError(Failure.TRUNCATED, f"the archive is cut short: {error}") from None
        self._count += len(data)
        if self._count > ARCHIVE_LIMIT:
            raise ClipError(Failure.TOO_LARGE, f"the archive unpacks to more than {ARCHIVE_LIMIT >> 30} GB")
        return data


class _CheckedHeader(tarfile.TarInfo):
    """A tar header; a damaged or missing one is an error, where `tarfile` takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_CheckedHeader":
        if not buf:
            raise tarfile.ReadError("the end mark is missing")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a header is damaged: {error}") from None
        if header.type in _EXTENDED_HEADERS and header.size > HEADER_LIMIT:
            raise ClipError(
                Failure.TOO_LARGE,
                f"the archive has a header of {header.size:,} bytes: the limit is {HEADER_LIMIT >> 20} MB",
            )
        return header
