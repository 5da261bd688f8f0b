"""The members of a tar or tar.gz archive, read in order, with every size bounded and every error typed.

A damaged header or a missing end mark is an error, not the end of the archive.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from pipeline.records.failures import ClipError, Failure

ARCHIVE_LIMIT = 64 << 30  # bytes unpacked; a part of Kinetics has about 2 GB
MEMBER_COUNT_LIMIT = 100_000  # a part of Kinetics has about 1,000
HEADER_LIMIT = 64 << 10  # bytes of the headers of one member: its name and a few numbers
PADDING_LIMIT = 1 << 20  # bytes after the end mark; common programs write up to 10 kB
RATIO_LIMIT = 100  # unpacked bytes for each byte of an archive or a member; of videos it is near 1
GZIP_OVERHEAD_LIMIT = 1 << 20  # bytes of a gzip file beyond 1.1 times its content: headers, empty blocks, padding
NAME_LIMIT = 255  # characters of a member's name; longer ones are no clips'
_RATIO_SLACK = 16 << 20  # unpacked bytes below which the ratio is not checked
_GLOBAL_FIELDS_LIMIT = 1000  # fields of pax headers for all members
_BLOCK = 256 << 10
_LARGE_ARCHIVE = f"the archive unpacks to more than {ARCHIVE_LIMIT >> 30} GB"
_LONG_HEADERS = f"the archive has a member with more than {HEADER_LIMIT >> 10} kB of headers"
_LONG_PADDING = f"the archive has more than {PADDING_LIMIT >> 20} MB after its end mark"

_EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def read_tar(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular members of a tar or tar.gz in order, with their content.

    Links, devices, folders, and members with a name of more than `NAME_LIMIT` characters are skipped.

    Raises:
        ClipError: truncated: the archive ends before its end mark, a header is damaged, or data follows the end mark;
            checksum_mismatch: its compressed data is damaged; too_large: it has more bytes, members, header bytes or
            padding than any archive of clips, or much more than its own size.
    """
    with path.open("rb") as file:
        reader = _BoundedReader(file)
        try:
            yield from _members(reader)
        except ClipError as error:
            if error.code is not Failure.CHECKSUM_MISMATCH:
                reader.check_rest()  # a header may be damaged because the compressed data is
            raise


def _members(reader: "_BoundedReader") -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    stream = cast(IO[bytes], reader)  # tarfile calls `read` alone
    with tar_errors(), tarfile.open(fileobj=stream, mode="r|", tarinfo=_CheckedHeader, bufsize=_BLOCK) as tar:
        count = 0
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header
            count += 1
            _check_counts(tar, count)
            if member.size < 0:  # by an extended header
                raise tarfile.ReadError(f"a header has the size {member.size:,}")
            reader.limit(ARCHIVE_LIMIT, _LARGE_ARCHIVE)
            is_candidate = member.isreg() and len(member.name) <= NAME_LIMIT
            content = tar.extractfile(member) if is_candidate else None
            if content is not None:
                yield member, content
            reader.limit(tar.offset + HEADER_LIMIT, _LONG_HEADERS)
        reader.limit(reader.position + PADDING_LIMIT, _LONG_PADDING)
        while padding := cast(IO[bytes], tar.fileobj).read(_BLOCK):  # after it, the checksum of compressed data
            if padding.count(0) != len(padding):
                raise tarfile.ReadError("data follows its end mark")


def _check_counts(tar: tarfile.TarFile, count: int) -> None:
    """Raise the ClipError too_large for more members, bytes or fields for all members than an archive of clips has."""
    if count > MEMBER_COUNT_LIMIT:
        raise ClipError(Failure.TOO_LARGE, f"the archive has more than {MEMBER_COUNT_LIMIT:,} members")
    if tar.offset > ARCHIVE_LIMIT:  # tarfile would go on reading after the end
        raise ClipError(Failure.TOO_LARGE, _LARGE_ARCHIVE)
    if len(tar.pax_headers) > _GLOBAL_FIELDS_LIMIT:
        raise ClipError(Failure.TOO_LARGE, f"the archive has more than {_GLOBAL_FIELDS_LIMIT:,} fields for all members")


@contextmanager
def tar_errors() -> Iterator[None]:
    """Turn errors of tarfile into a ClipError."""
    try:
        yield
    # Invalid numbers in headers are Value- or OverflowErrors, a header cut short can be an IndexError, and tarfile recurses
    # into a chain of extended headers.
    except (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError) as error:
        raise ClipError(Failure.TRUNCATED, f"the archive is cut short or damaged: {error}") from None


class _BoundedReader:
    """Reads the unpacked bytes of an archive up to a limit; damage and excess are raised as ClipError.

    Attributes:
        position: bytes read, up to `_BLOCK` more than tarfile has parsed.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        is_gzip = file.peek(2)[:2] == b"\x1f\x8b"
        self._packed = _PackedFile(file) if is_gzip else None
        self._file = gzip.GzipFile(fileobj=cast(IO[bytes], self._packed)) if is_gzip else file
        self.position = 0
        self.limit(HEADER_LIMIT, _LONG_HEADERS)

    def limit(self, position: int, excess: str) -> None:
        """Set the limit to `position`; `excess` is the error for a read beyond it."""
        self._limit, self._excess = position + _BLOCK, excess
        if position > ARCHIVE_LIMIT:
            self._limit, self._excess = ARCHIVE_LIMIT, _LARGE_ARCHIVE

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        try:
            data = self._file.read1(size)  # `read` would lose the bytes before an error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ClipError(Failure.CHECKSUM_MISMATCH, f"the archive is damaged: {error}") from None
        except EOFError as error:
            raise ClipError(Failure.TRUNCATED, f"the archive is cut short: {error}") from None
        self.position += len(data)
        if self.position > self._limit:
            raise ClipError(Failure.TOO_LARGE, self._excess)
        if self._packed is not None:
            self._packed.check_ratio(self.position)
        return data

    def check_rest(self) -> None:
        """Read compressed data to its end, where its checksum is.

        Raises:
            ClipError: checksum_mismatch.
        """
        self.limit(ARCHIVE_LIMIT, _LARGE_ARCHIVE)
        try:
            while self._packed is not None and self.read(_BLOCK):
                pass
        except ClipError as error:
            if error.code is Failure.CHECKSUM_MISMATCH:
                raise


class _PackedFile:
    """A gzip file whose size is compared with its content: bytes that unpack to nothing or to too much are bounded."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self._read, self._unpacked = file, 0, 0

    def read(self, size: int) -> bytes:
        """Up to `size` packed bytes; b"" at the end."""
        data = self._file.read(size)
        self._read += len(data)
        if self._read > 1.1 * self._unpacked + GZIP_OVERHEAD_LIMIT:
            raise ClipError(
                Failure.TOO_LARGE, f"more than {GZIP_OVERHEAD_LIMIT >> 20} MB of the archive unpack to nothing"
            )
        return data

    def check_ratio(self, unpacked: int) -> None:
        """Record that the bytes read have unpacked to `unpacked` bytes."""
        self._unpacked = unpacked
        if unpacked > RATIO_LIMIT * self._read + _RATIO_SLACK:
            raise ClipError(Failure.TOO_LARGE, f"the archive unpacks to more than {RATIO_LIMIT} times its size")


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
        if header.size < 0:
            raise tarfile.ReadError(f"a header has the size {header.size:,}")
        if header.type in _EXTENDED_HEADERS and header.size > HEADER_LIMIT:
            raise ClipError(
                Failure.TOO_LARGE,
                f"the archive has a header of {header.size:,} bytes: the limit is {HEADER_LIMIT >> 10} kB",
            )
        return header
