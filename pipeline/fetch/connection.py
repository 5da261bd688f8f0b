"""HTTP connections whose responses are parsed strictly, bounded in size, and received at a least rate.

`http.client` accepts negative chunk sizes, headers that are cut short and trailers without end, and its timeout is per
read: a host that sends one byte a second would occupy a reader for ever.
"""

import functools
import http.client
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util.response import assert_header_parsing

HEADER_LIMIT = 256 << 10  # bytes of status line and headers, and of the lines around one piece of a chunked body
_WINDOW_S = 60.0
_MAX_REDIRECTS = 10
_LINE_LIMIT = 1 << 10  # bytes of a chunk's size line


@dataclass(frozen=True)
class LeastRate:
    """At least `bytes_per_minute` on average over each minute of waiting for the host, by `clock` in seconds."""

    bytes_per_minute: int
    clock: Callable[[], float]


class TooSlow(TimeoutError):
    """The host was slower than the `LeastRate`."""


def open_session(least_rate: LeastRate) -> requests.Session:
    """A session whose responses are `StrictResponse`s. Bodies of redirects are not read."""
    session = requests.Session()
    session.max_redirects = _MAX_REDIRECTS
    session.hooks["response"].append(_drop_redirect_body)
    adapter = _Adapter(least_rate)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class StrictResponse(http.client.HTTPResponse):
    """A response; malformed ones raise HTTPException or urllib3's HTTPError, slow ones TooSlow."""

    def __init__(self, sock: Any, *args: Any, least_rate: LeastRate, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._raw = _BoundedRaw(self.fp.detach(), least_rate)
        self.fp = io.BufferedReader(self._raw)

    def begin(self) -> None:
        """Read status line and headers."""
        self._raw.allow(HEADER_LIMIT)
        super().begin()
        if self._raw.ended:  # http.client takes that for the end of the headers
            raise http.client.HTTPException("the headers are cut short")
        assert_header_parsing(self.msg)

    def read1(self, n: int = -1) -> bytes:
        """Up to `n` bytes of the body, without waiting for more than the first of them."""
        self._raw.allow(HEADER_LIMIT + max(n, 0))
        return super().read1(n)

    def _get_chunk_left(self) -> int | None:
        """Bytes left of the current chunk, or size of the next one; None at the end of the body."""
        left: int | None = self.chunk_left
        if not left:
            if left is not None and self._read_line() != b"":
                raise http.client.HTTPException("a chunk of the body is longer than its size")
            left = self._read_size() or None
            if left is None:
                while self._read_line():  # trailers
                    pass
                self._close_conn()  # type: ignore[attr-defined]
            self.chunk_left = left
        return left

    def _read_size(self) -> int:
        digits = self._read_line().partition(b";")[0].strip(b" \t")
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,12}", digits):
            raise http.client.HTTPException(f"invalid chunk size {digits[:20]!r}")
        return int(digits, 16)

    def _read_line(self) -> bytes:
        line = self.fp.readline(_LINE_LIMIT + 1)
        if not line.endswith(b"\n"):
            if len(line) > _LINE_LIMIT:
                raise http.client.LineTooLong("chunk size or trailer")
            raise http.client.IncompleteRead(b"")
        return line.rstrip(b"\r\n")


class _BoundedRaw(io.RawIOBase):
    """The bytes of a response as they come from the socket."""

    def __init__(self, socket: io.RawIOBase, least_rate: LeastRate) -> None:
        self._socket, self._least = socket, least_rate
        self._received, self._waited = 0, 0.0  # bytes and seconds in the current window
        self._allowed = 0
        self.ended = False

    def allow(self, count: int) -> None:
        """Allow `count` bytes to be received from now on."""
        self._allowed = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        start = self._least.clock()
        count = self._socket.readinto(buffer) or 0
        self._waited += self._least.clock() - start
        self._received += count
        self._allowed -= count
        self.ended = not count
        if self._allowed < -len(buffer):  # `BufferedReader` reads ahead
            raise http.client.HTTPException(f"more than {HEADER_LIMIT >> 10} kB of headers")
        if self._waited >= _WINDOW_S:
            if self._received < self._least.bytes_per_minute:
                raise TooSlow(
                    f"{self._received:,} bytes in the last minute: {self._least.bytes_per_minute:,} are the least"
                )
            self._received, self._waited = 0, 0.0
        return count

    def close(self) -> None:
        self._socket.close()
        super().close()


class _Adapter(HTTPAdapter):
    """Transport adapter whose connections return `StrictResponse`s."""

    def __init__(self, least_rate: LeastRate) -> None:
        super().__init__()
        response = functools.partial(StrictResponse, least_rate=least_rate)
        self._classes = {
            "http": type("_Connection", (urllib3.connection.HTTPConnection,), {"response_class": response}),
            "https": type("_SecureConnection", (urllib3.connection.HTTPSConnection,), {"response_class": response}),
        }

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:  # requests and its stubs differ
        """The pool for a request, direct or through a proxy."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = self._classes[pool.scheme]
        return pool


def _drop_redirect_body(response: requests.Response, **_: Any) -> None:
    """`requests` reads the body of a redirect whole, however long it is."""
    if response.is_redirect:
        response.close()
        response._content = b""  # noqa: SLF001
