"""gzip that can be left in mid-file and taken up again by another process.

Python's `zlib` cannot say where one deflate block ends and the next begins, nor start there; the C library below it
can (https://www.zlib.net/manual.html: `Z_BLOCK`, `inflatePrime`, `inflateSetDictionary`), so it is called directly.
"""

import base64
import ctypes
import ctypes.util
import functools
import io
import sys
import zlib
from collections import deque
from dataclasses import asdict, dataclass
from typing import IO, Any

_RAW, _WINDOW = -15, 1 << 15
_OK, _STREAM_END, _BUF_ERROR, _BLOCK = 0, 1, -5, 5
_BUFFER = 1 << 18
_KEPT = 32  # marks; they reach back a megabyte or more, as readers read ahead


class Damaged(Exception):
    """The file is no gzip file, or its bytes are not what they were."""


@dataclass(frozen=True)
class Mark:
    """A place between two deflate blocks of a gzip file, and all that is needed to go on from there."""

    packed: int  # bytes of the file before it
    unpacked: int  # bytes of content before it
    bits: int = 0  # how many bits of the last byte before it belong to the next block
    partial: int = 0  # the value of these bits
    window: bytes = b""  # the last 32 KB of content before it, which the next block may refer to
    crc: int = 0  # of the gzip member's content so far
    size: int = 0  # of the gzip member's content so far, bytes

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"window": base64.b64encode(self.window).decode()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Mark":
        """What `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        return cls(**value | {"window": base64.b64decode(value["window"])})


class Plain(io.RawIOBase):
    """A file that is not packed, as a stream with marks."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to `len(buffer)` bytes; 0 at the end."""
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def mark_before(self, position: int) -> Mark:
        """There."""
        return Mark(position, position)


class Inflater(io.RawIOBase):
    """The content of a gzip file (of one or several members), checked against its sums.

    Args:
        file: is read from byte `mark.packed` on; it must stand there.
        mark: where to begin; the beginning of the file if None.

    Raises:
        EOFError: from a read: the file ends too early.
        Damaged: from a read.
    """

    def __init__(self, file: IO[bytes], mark: Mark | None = None) -> None:
        super().__init__()
        self._file, self._chunk, self._used = file, b"", 0  # of the chunk, `used` bytes are behind us
        self._packed = self._unpacked = self._crc = self._size = 0
        self._marks = deque([mark or Mark(0, 0)], _KEPT)
        self._stream: _Stream | None = None  # None between two members
        if mark is not None and mark.packed:
            self._packed, self._unpacked, self._crc, self._size = mark.packed, mark.unpacked, mark.crc, mark.size
            self._stream = _start()
            if mark.bits:
                _check(_library().inflatePrime(ctypes.byref(self._stream), mark.bits, mark.partial))
            if mark.window:
                window = ctypes.byref(self._stream), mark.window, len(mark.window)
                _check(_library().inflateSetDictionary(*window))

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to `len(buffer)` bytes; 0 at the end."""
        if not len(buffer):
            return 0
        target = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        while True:
            if self._stream is None and not self._begin():
                return 0
            count = self._inflate(target)
            if count:
                self._crc = zlib.crc32(memoryview(buffer)[:count], self._crc)
                self._unpacked += count
                self._size += count
            self._remember()
            if self._ended:
                self._end()
            if count:
                return count

    def mark_before(self, position: int) -> Mark:
        """The last mark that is not behind byte `position` of the content; that must not lie far back."""
        return next(mark for mark in reversed(self._marks) if mark.unpacked <= position)

    def close(self) -> None:
        """Let go of the library's memory."""
        self._drop()
        super().close()

    def _inflate(self, target: Any) -> int:
        """Fill `target` as far as this block and the chunk at hand go; returns how many bytes."""
        stream, self._ended = self._stream, False
        assert stream is not None
        if self._used == len(self._chunk) and not self._fill():
            raise EOFError("the gzip file ends too early")
        base = ctypes.cast(ctypes.c_char_p(self._chunk), ctypes.c_void_p).value or 0
        stream.next_in, stream.avail_in = base + self._used, len(self._chunk) - self._used
        stream.next_out, stream.avail_out = ctypes.addressof(target), len(target)
        code = _library().inflate(ctypes.byref(stream), _BLOCK)
        if code not in (_OK, _STREAM_END, _BUF_ERROR):
            raise Damaged(f"damaged gzip data: {(stream.msg or b'').decode(errors='replace') or code}")
        used = len(self._chunk) - stream.avail_in
        self._packed += used - self._used
        self._used, self._ended = used, code == _STREAM_END
        return len(target) - int(stream.avail_out)

    def _remember(self) -> None:
        """Make this place the mark, where it lies between two blocks and is worth its 32 KB."""
        stream = self._stream
        if stream is None or not stream.data_type & 128 or stream.data_type & 64 or not self._used:
            return
        if self._unpacked - self._marks[-1].unpacked < _WINDOW:
            return
        window, length = ctypes.create_string_buffer(_WINDOW), ctypes.c_uint(_WINDOW)
        _check(_library().inflateGetDictionary(ctypes.byref(stream), window, ctypes.byref(length)))
        bits = stream.data_type & 7
        partial = self._chunk[self._used - 1] >> (8 - bits) if bits else 0
        self._marks.append(
            Mark(self._packed, self._unpacked, bits, partial, window.raw[: length.value], self._crc, self._size)
        )

    def _begin(self) -> bool:
        """Read a member's header (RFC 1952); False at the end of the file. Zeros may follow the last member."""
        if self._packed:
            while self._used < len(self._chunk) or self._fill():
                rest = self._chunk[self._used :].lstrip(b"\0")
                self._skip(len(self._chunk) - self._used - len(rest))
                if rest:
                    break
            else:
                return False
        magic = self._take(10)
        if magic[:3] != b"\x1f\x8b\x08":
            raise Damaged("not a gzip file")
        flags = magic[3]
        if flags & 4:
            self._take(int.from_bytes(self._take(2), "little"))
        for flag in (8, 16):  # a name, a comment: up to a zero
            while flags & flag and self._take(1) != b"\0":
                pass
        if flags & 2:
            self._take(2)
        self._stream, self._crc, self._size = _start(), 0, 0
        return True

    def _end(self) -> None:
        """Hold the member against its trailer."""
        self._drop()
        trailer = self._take(8)
        if trailer != (self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")):
            raise Damaged("the content does not match the gzip file's checksum")

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if self._used == len(self._chunk) and not self._fill():
                raise EOFError("the gzip file ends too early")
            piece = self._chunk[self._used : self._used + count - len(data)]
            self._skip(len(piece))
            data += piece
        return data

    def _skip(self, count: int) -> None:
        self._used += count
        self._packed += count

    def _fill(self) -> bool:
        self._chunk, self._used = self._file.read(_BUFFER), 0
        return bool(self._chunk)

    def _drop(self) -> None:
        if self._stream is not None:
            _library().inflateEnd(ctypes.byref(self._stream))
            self._stream = None


class _Stream(ctypes.Structure):
    """zlib.h: z_stream."""

    _fields_ = (
        ("next_in", ctypes.c_void_p),
        ("avail_in", ctypes.c_uint),
        ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint),
        ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )


def _start() -> _Stream:
    stream = _Stream()
    library = _library()
    _check(library.inflateInit2_(ctypes.byref(stream), _RAW, library.zlibVersion(), ctypes.sizeof(stream)))
    return stream


def _check(code: int) -> None:
    if code != _OK:
        raise Damaged(f"zlib says {code}")


@functools.cache
def _library() -> ctypes.CDLL:
    """The C library that Python's own zlib module stands on.

    Raises:
        OSError: it is not on this machine.
    """
    name = {"linux": "libz.so.1", "darwin": "libz.dylib"}.get(sys.platform) or ctypes.util.find_library("z")
    library = ctypes.CDLL(name)
    library.zlibVersion.restype = ctypes.c_char_p
    return library
