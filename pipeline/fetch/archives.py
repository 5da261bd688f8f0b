"""Take wanted members out of archives from the internet: names are only compared, never used as paths.

A tar is read front to back, as a stream that can be left after any member and taken up again by another process.
"""

import io
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common.files import replacing
from pipeline.fetch.disk import Disk
from pipeline.fetch.inflate import Damaged, Inflater, Mark, Plain
from pipeline.records.failures import ClipError, Failure

MEMBER_LIMIT = 256 << 20  # bytes; a ten-second clip is some 1 to 5 MB
_ARCHIVE_LIMIT = 64 << 30  # bytes unpacked; a part of Kinetics has about 2 GB
_MEMBERS_LIMIT = 1_000_000
_HEADER_LIMIT = 1 << 20  # bytes of an extended header: a name and a few numbers
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_BLOCK = 512


@dataclass(frozen=True)
class Place:
    """Where a tar can be taken up again: `offset` is a member's first byte in the unpacked tar, `mark` lies before it."""

    offset: int
    mark: Mark

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"offset": self.offset, "mark": self.mark.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Place":
        """What `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        return cls(int(value["offset"]), Mark.from_json(value["mark"]))


@dataclass(frozen=True)
class Member:
    """A regular file in a tar, while the stream stands at it."""

    name: str
    size: int
    after: int | None  # offset of what follows it; None if that cannot be told
    _content: IO[bytes]

    def check(self) -> None:
        """Look at what it claims to be.

        Raises:
            ClipError: unsafe_path: it is larger than any clip.
        """
        if self.size > MEMBER_LIMIT:
            raise ClipError(Failure.UNSAFE_PATH, f"{self.name} has {self.size:,} bytes: no clip is so large")

    def write(self, target: Path) -> None:
        """Put its content at `target`.

        Raises:
            ClipError: as iterating.
        """
        with _typed(), replacing(target) as temporary, temporary.open("wb") as out:
            shutil.copyfileobj(self._content, out, 1 << 18)


class TarStream:
    """The regular members of a tar or tar.gz, in order. Links, devices and folders are passed over.

    Raises:
        ClipError: while iterating: truncated when the archive ends before its end mark; checksum_mismatch when its bytes
            are damaged; unsafe_path when it holds more than any archive of clips does.
    """

    def __init__(self, file: IO[bytes], place: Place | None = None) -> None:
        """Read `file`, which stands at byte `place.mark.packed`, from `place` on; from its beginning if None."""
        self._begin = place.offset if place else 0
        self._skip = place.offset - place.mark.unpacked if place else 0
        if place is None:
            head = file.read(2)
            packed, file = head == b"\x1f\x8b", _Joined(head, file)  # type: ignore[assignment]
        else:
            packed = place.mark != Mark(place.offset, place.offset)
        self._stream = Inflater(file, place.mark if place else None) if packed else Plain(file)

    def place(self, after: int) -> Place:
        """Where to go on behind the member that ends at `after`, the one that was yielded last."""
        return Place(after, self._stream.mark_before(after))

    def __iter__(self) -> Iterator[Member]:
        with _typed():
            while self._skip:
                passed = len(self._stream.read(min(self._skip, 1 << 20)) or b"")
                if not passed:
                    raise EOFError("it ends before the place to go on at")
                self._skip -= passed
            with tarfile.open(fileobj=self._stream, mode="r|", tarinfo=_Header, bufsize=_BLOCK << 9) as archive:
                yield from self._members(archive)
            while self._stream.read(1 << 20):  # padding; at its end the checksum is told
                pass

    def _members(self, archive: tarfile.TarFile) -> Iterator[Member]:
        count = 0
        while (header := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # they would pile up
            count += 1
            if count > _MEMBERS_LIMIT or header.offset_data + header.size > _ARCHIVE_LIMIT:
                claim = f"the archive claims more than {_MEMBERS_LIMIT:,} files or {_ARCHIVE_LIMIT >> 30} GB"
                raise ClipError(Failure.UNSAFE_PATH, claim)
            if not header.isreg():
                continue
            end = header.offset_data + -(-header.size // _BLOCK) * _BLOCK
            content = archive.extractfile(header)
            assert content is not None  # regular members have content
            yield Member(header.name, header.size, None if header.issparse() else self._begin + end, content)


def extract_zip_member(archive: zipfile.ZipFile, name: str, target: Path, disk: Disk) -> None:
    """Write one member of an open zip file to `target`, counted against the budget of `disk`.

    Raises:
        ClipError: not_found, truncated (the member is damaged) or unsafe_path (larger than any clip).
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ClipError(Failure.NOT_FOUND, f"the archive has no member {name}") from None
    if info.file_size > MEMBER_LIMIT:
        raise ClipError(
            Failure.UNSAFE_PATH, f"the member {name} unpacks to {info.file_size} bytes: no clip is so large"
        )
    disk.spend(info.file_size, name)
    try:
        with archive.open(info) as content, replacing(target) as temporary, temporary.open("wb") as out:
            shutil.copyfileobj(content, out, 1 << 18)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ClipError(Failure.TRUNCATED, f"the member {name} is damaged: {error}") from None


@contextmanager
def _typed() -> Iterator[None]:
    """What can be wrong with a tar's bytes, as a ClipError."""
    try:
        yield
    except Damaged as error:
        raise ClipError(Failure.CHECKSUM_MISMATCH, f"the archive is damaged: {error}") from None
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:  # the last two: numbers in odd headers
        raise ClipError(Failure.TRUNCATED, f"the archive is cut short or damaged: {error}") from None


class _Header(tarfile.TarInfo):
    """A tar header that says when it is damaged or missing: `tarfile` takes either for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        if not buf:
            raise EOFError("its end mark is missing")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a header is damaged: {error}") from None
        if header.type in _EXTENDED and header.size > _HEADER_LIMIT:
            raise ClipError(Failure.UNSAFE_PATH, f"the archive has a header of {header.size:,} bytes")
        return header


class _Joined(io.RawIOBase):
    """The bytes that were read to see what a file is, and the rest of it."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        super().__init__()
        self._head, self._rest = head, rest

    def read(self, size: int = -1) -> bytes:
        head, self._head = self._head, b""
        return head or self._rest.read(size)
