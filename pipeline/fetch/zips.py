"""Zip files from hosts: opened and read with bounds, and with every error of their parsers typed."""

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import WorkError
from pipeline.records.failures import ClipError, Failure

DIRECTORY_LIMIT = 16 << 20  # bytes of the central directory; TinyVIRAT, 26,355 clips, has about 4 MB
_BLOCK = 1 << 18

# An unknown compression method raises NotImplementedError, an encrypted member RuntimeError, a name that is not UTF-8
# UnicodeDecodeError (a ValueError), a false size any of the others.
_PARSER_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
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
        WorkError: it is not a zip file, or its central directory is larger than `DIRECTORY_LIMIT`.
    """
    with _BoundedFile(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except _PARSER_ERRORS as error:
            raise WorkError(f"{path} is not a zip file ({error}): delete it and run the same command again") from None
        with archive:
            yield archive


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """The content of one member of at most `limit` bytes.

    Raises:
        ClipError: too_large, or truncated: the member is damaged, encrypted or compressed by an unknown method.
    """
    if info.file_size > limit:
        raise ClipError(
            Failure.TOO_LARGE, f"{info.filename} unpacks to {info.file_size:,} bytes: the limit is {limit:,}"
        )
    with typed_errors(info.filename), archive.open(info) as content:
        return b"".join(iter(lambda: content.read(_BLOCK), b""))  # no more than `file_size`


@contextmanager
def typed_errors(member: str) -> Iterator[None]:
    """Turn errors of reading `member` into a ClipError; errors of the disk pass through."""
    try:
        yield
    except _PARSER_ERRORS as error:
        raise ClipError(Failure.TRUNCATED, f"the member {member} is damaged: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise ClipError(Failure.TRUNCATED, f"the member {member} is damaged: {error}") from None  # of bz2


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
