"""Zip files from hosts: opened and read with bounds, and with every error of their parsers typed."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.errors import WorkError
from pipeline.records.failures import ClipError, Failure

DIRECTORY_LIMIT = 16 << 20  # bytes of the central directory; TinyVIRAT, 26,355 clips, has about 4 MB
_BLOCK = 1 << 18
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # `zipfile` unpacks a block of bz2 or LZMA whole, of any size
_LOCAL_HEADER = 30  # bytes, without name and extra fields

# An unknown compression method raises NotImplementedError, an encrypted member RuntimeError, a name that is not UTF-8
# UnicodeDecodeError (a ValueError), a false size any of the others.
_PARSER_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    LookupError,
)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading.

    Raises:
        WorkError: it is not a zip file, its central directory is larger than `DIRECTORY_LIMIT`, or members overlap: they
            could unpack to any number of times its size.
    """
    with _BoundedFile(path) as file:
        try:
            archive = zipfile.ZipFile(file)
            _check_overlap(archive, path.stat().st_size)
        except _PARSER_ERRORS as error:
            raise WorkError(f"{path} is not a zip file ({error}): delete it and run the same command again") from None
        with archive:
            yield archive


def _check_overlap(archive: zipfile.ZipFile, size: int) -> None:
    members = sorted(archive.infolist(), key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in members[1:]), size]
    for info, end in zip(members, ends, strict=False):
        if not 0 <= info.header_offset <= end - _LOCAL_HEADER - info.compress_size:
            raise zipfile.BadZipFile(f"the member {info.filename!r} overlaps what follows it")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """The content of one member of at most `limit` bytes.

    Raises:
        ClipError: too_large, or see `open_member`.
    """
    if info.file_size > limit:
        raise ClipError(
            Failure.TOO_LARGE, f"{info.filename} unpacks to {info.file_size:,} bytes: the limit is {limit:,}"
        )
    with open_member(archive, info) as content:
        return b"".join(iter(lambda: content.read(_BLOCK), b""))  # no more than `file_size`


@contextmanager
def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """Open one member for reading; errors of the disk pass through.

    Raises:
        ClipError: truncated, here or from a read: the member is damaged, encrypted, or neither stored nor deflated.
    """
    try:
        if info.compress_type not in _METHODS:
            raise NotImplementedError(f"compression method {info.compress_type}")
        with archive.open(info) as content:
            yield content
    except _PARSER_ERRORS as error:
        raise ClipError(Failure.TRUNCATED, f"the member {info.filename} is damaged: {error}") from None


class _BoundedFile(io.FileIO):
    """A file of which `zipfile` reads no more than `DIRECTORY_LIMIT` bytes at once, whatever the sizes in it are."""

    def seek(self, position: int, whence: int = 0, /) -> int:
        try:
            return super().seek(position, whence)
        except OSError:  # beyond what a file can have
            raise zipfile.BadZipFile(f"it names the invalid position {position:,}") from None

    def read(self, size: int | None = -1, /) -> bytes:
        to_end = size is None or size < 0
        data = super().read(DIRECTORY_LIMIT + 1 if to_end else min(size or 0, DIRECTORY_LIMIT + 1))
        if len(data) > DIRECTORY_LIMIT:
            raise zipfile.BadZipFile(f"its central directory is larger than {DIRECTORY_LIMIT >> 20} MB")
        return data
