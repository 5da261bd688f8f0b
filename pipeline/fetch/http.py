"""Sequential HTTP reader with retries, backoff and Range resume."""

import http.client
import io
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import requests
import urllib3

from pipeline.fetch.connection import LeastRate, TooSlow, open_session
from pipeline.fetch.headers import parse_content_range, parse_count, parse_retry_after
from pipeline.records.failures import ClipError, Failure

_RETRYABLE_STATUS = {
    408: Failure.TIMEOUT,
    425: Failure.CONNECTION,
    429: Failure.RATE_LIMITED,
    503: Failure.RATE_LIMITED,
}
_PERMANENT_STATUS = {
    401: Failure.FORBIDDEN,
    403: Failure.FORBIDDEN,
    404: Failure.NOT_FOUND,
    410: Failure.NOT_FOUND,
}
# Malformed answers raise what the parser that meets them happens to raise: UnicodeError, OverflowError, IndexError, ...
LIBRARY_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
)
TAIL = 1024  # bytes before the position of a resumed read that are requested again and compared
_USER_AGENT = "semi-supervised-meta-learning (dataset pipeline)"


class _BadAnswer(Exception):
    """A response that contradicts the request or itself."""

    def __init__(self, code: Failure, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class NotModified(Exception):
    """The hosted file is still the version named by `if_not_version`."""


class RateLimit:
    """At most `bytes_per_s` on average over all readers that share it; None: unlimited. Thread-safe.

    Attributes:
        received: bytes of all readers so far.
    """

    def __init__(self, bytes_per_s: float | None = None) -> None:
        self._rate, self._next_slot, self.received = bytes_per_s, 0.0, 0
        self._lock = threading.Lock()

    def acquire(self, count: int, sleep: Callable[[float], None]) -> None:
        """Sleep until the rate limit allows `count` more bytes."""
        with self._lock:
            self.received += count
            if self._rate is None:
                return
            now = time.monotonic()
            slot = max(self._next_slot, now)
            self._next_slot = slot + count / self._rate
        if slot > now:
            sleep(slot - now)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to retry, and how fast to read."""

    attempts: int = 8  # consecutive ones that together gain fewer than `min_bytes_per_minute` bytes
    timeout_s: float = 30.0  # to connect, and between two reads of a body
    backoff_s: float = 1.0  # before the second attempt; doubled for each further one, with jitter
    max_wait_s: float = 120.0  # upper bound of any wait, Retry-After included
    rate_limit: RateLimit = field(default_factory=RateLimit, repr=False)
    min_bytes_per_minute: int = 60_000  # a slower host is a timeout; time spent waiting for the host alone counts
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def open_session(self) -> requests.Session:
        """A session whose responses are parsed strictly and received at the least rate."""
        return open_session(LeastRate(self.min_bytes_per_minute, self.clock))


class RemoteFile(io.RawIOBase):
    """The body of `url` as a readable stream that reconnects and resumes after errors.

    Args:
        url: http or https.
        policy: retries and rate.
        session: of `RetryPolicy.open_session`, for certificates and connection reuse; a new one by default.
        position: first byte to read.
        tail: the last `TAIL` or fewer bytes before `position`; the hosted file must have the same there.
        version: of the bytes before `position`; the rest must have the same.
        if_not_version: send the body only if the hosted file has another version.

    Raises:
        NotModified: from the first read, see `if_not_version`.
        ClipError: from any read. not_found and forbidden at once; rate_limited, timeout, connection or truncated after
            `policy.attempts` consecutive failures; checksum_mismatch when the hosted file has changed or another part of
            it was sent than requested.
    """

    def __init__(
        self,
        url: str,
        policy: RetryPolicy,
        session: requests.Session | None = None,
        *,
        position: int = 0,
        tail: bytes = b"",
        version: str | None = None,
        if_not_version: str | None = None,
    ) -> None:
        super().__init__()
        self.url, self._policy, self._session = url, policy, session or policy.open_session()
        self._owns_session = session is None
        self._position, self._tail, self._failures = position, tail, 0
        self._gained = 0  # bytes since the number of failures was last set to 0
        self.size: int | None = None  # bytes of the whole file, once known
        self.version = version  # strong ETag or Last-Modified
        self._if_not_version = if_not_version
        self._response: requests.Response | None = None
        self._end: int | None = None  # position after the last byte of the response, once known

    def readable(self) -> bool:
        """Always readable."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to `len(buffer)` bytes; 0 at the end of the file."""
        while self.size is None or self._position < self.size:
            try:
                data = self._read(len(buffer))
            except _BadAnswer as error:
                self._retry(error.code, error)
                continue
            except requests.exceptions.SSLError as error:
                raise ClipError(
                    Failure.CONNECTION, f"{self.url}: its certificate cannot be verified: {error}"
                ) from None
            except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
                self._retry(Failure.TIMEOUT, _too_slow(error) or error)
                continue
            except LIBRARY_ERRORS as error:
                early = any(isinstance(cause, http.client.IncompleteRead) for cause in error.args)
                self._retry(Failure.TRUNCATED if early else Failure.CONNECTION, error)
                continue
            if data:
                self._position += len(data)
                self._tail = (self._tail + data[-TAIL:])[-TAIL:]
                self._count_gain(len(data))
                buffer[: len(data)] = data
                self._policy.rate_limit.acquire(len(data), self._policy.sleep)
                return len(data)
            if self.size is None:
                self.size = self._position  # no Content-Length, and the connection was closed in good order
            elif self._position < self.size:
                self._retry(Failure.TRUNCATED, f"the body ended at byte {self._position:,} of {self.size:,}")
        return 0

    def close(self) -> None:
        """Close the connection."""
        self._disconnect()
        if self._owns_session:
            self._session.close()
        super().close()

    def _read(self, limit: int) -> bytes:
        """Up to `limit` bytes of the body, no more than has been received already; b"" at its end."""
        response = self._response or self._connect()
        if self._end is None:
            return cast(bytes, response.raw.read1(limit))
        if self._position >= self._end:
            return b""
        data = cast(bytes, response.raw.read1(min(limit, self._end - self._position)))
        # Only Content-Length makes sure of the body's length.
        at_end = self._position + len(data) == self._end
        if at_end and "Content-Length" not in response.headers and response.raw.read1(1):
            raise _BadAnswer(Failure.CHECKSUM_MISMATCH, f"the body does not end at byte {self._end:,}")
        return data

    def _count_gain(self, count: int) -> None:
        self._gained += count
        if self._gained >= self._policy.min_bytes_per_minute:
            self._gained, self._failures = 0, 0

    def _connect(self) -> requests.Response:
        """Request the rest of the file, again and again while the host is busy."""
        while True:
            # Given explicitly, because requests lets REQUESTS_CA_BUNDLE overrule the session's own `verify`.
            verify = None if self._session.verify is True else self._session.verify
            response = self._session.get(
                self.url, headers=self._headers(), stream=True, timeout=self._policy.timeout_s, verify=verify
            )
            status, reason = response.status_code, f"{response.status_code} {response.reason}"
            if status in (200, 206):
                self._response = response
                self._accept(response)
                return response
            response.close()
            if status == 304 and self._if_not_version is not None:
                raise NotModified
            if status in _PERMANENT_STATUS:
                raise ClipError(_PERMANENT_STATUS[status], f"{self.url}: {reason}")
            if status == 416 and self._position:
                raise ClipError(
                    Failure.CHECKSUM_MISMATCH, f"{self.url} has changed: it ends before byte {self._position:,}"
                )
            code = _RETRYABLE_STATUS.get(status, Failure.CONNECTION)
            self._retry(code, reason, response.headers.get("Retry-After"))

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        begin = self._position - len(self._tail)
        if begin:
            headers["Range"] = f"bytes={begin}-"
            if self.version is not None:
                headers["If-Range"] = self.version
        if self._if_not_version is not None:
            is_etag = self._if_not_version.startswith('"')
            headers["If-None-Match" if is_etag else "If-Modified-Since"] = self._if_not_version
        return headers

    def _accept(self, response: requests.Response) -> None:
        """Check that the response has the requested part of the same version, and skip to the current position."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise ClipError(
                Failure.CONNECTION,
                f"{self.url}: the host sent the file with Content-Encoding {encoding}, which was not requested",
            )
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if version is not None and version.startswith("W/"):
            version = None  # a weak ETag does not promise equal bytes
        length = _body_length(response)
        end: int | None
        if response.status_code == 206:
            begin, end, total = self._requested_range(response.headers.get("Content-Range", ""), length)
        else:  # a host without Range support sends the file from its start
            begin, end, total = 0, length, length
        changed = self.version is not None and version is not None and version != self.version
        wrong_size = total is not None and (total < self._position or self.size not in (None, total))
        if changed or wrong_size:
            raise ClipError(Failure.CHECKSUM_MISMATCH, f"{self.url} has changed since its first bytes were read")
        self.version, self.size = version or self.version, total if total is not None else self.size
        self._end = end if end is not None else self.size
        self._skip(response, self._position - begin)

    def _skip(self, response: requests.Response, count: int) -> None:
        """Skip `count` bytes of a body, of which the last ones must be those before the current position."""
        last = b""
        while count:
            skipped = response.raw.read1(min(count, 1 << 18))
            if not skipped:
                raise urllib3.exceptions.ProtocolError(f"the body ended before byte {self._position:,}")
            last = (last + skipped)[-TAIL:]
            count -= len(skipped)
        if not last.endswith(self._tail):
            raise ClipError(
                Failure.CHECKSUM_MISMATCH, f"{self.url} has changed: its bytes before {self._position:,} are others now"
            )

    def _requested_range(self, text: str, length: int | None) -> tuple[int, int, int | None]:
        """Begin, end and total of a Content-Range.

        Raises:
            _BadAnswer: it is invalid, or not of the body that was requested.
        """
        parsed = parse_content_range(text)
        if parsed is None:
            raise _BadAnswer(Failure.CONNECTION, f"partial response without a valid Content-Range: {text[:80]!r}")
        begin, end, total = parsed
        requested = self._position - len(self._tail)
        if begin != requested or length not in (None, end - begin):
            size = "of unknown length" if length is None else f"of {length:,} bytes"
            raise _BadAnswer(
                Failure.CHECKSUM_MISMATCH,
                f"the rest from byte {requested:,} was requested; the response, {size}, has Content-Range {text!r}",
            )
        if total is None and self.size is None:
            raise _BadAnswer(Failure.CONNECTION, f"partial response of a file of unknown size: Content-Range {text!r}")
        return begin, end, total

    def _retry(self, code: Failure, reason: object, retry_after: str | None = None) -> None:
        """Wait before the next attempt.

        Raises:
            ClipError: this was the last attempt.
        """
        self._disconnect()
        self._failures += 1
        if self._failures >= self._policy.attempts:
            raise ClipError(code, f"{self.url}: {reason}") from None
        wait = self._policy.backoff_s * 2 ** (self._failures - 1) * random.uniform(0.5, 1.5)
        self._policy.sleep(min(max(wait, parse_retry_after(retry_after or "")), self._policy.max_wait_s))

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _body_length(response: requests.Response) -> int | None:
    """The body's length in bytes; None: unknown, as of a chunked one.

    Raises:
        _BadAnswer: RFC 9112, 6.3: where the body ends is not certain.
    """
    coding, text = response.headers.get("Transfer-Encoding"), response.headers.get("Content-Length")
    if coding is not None and (text is not None or coding.lower() != "chunked"):
        raise _BadAnswer(
            Failure.CONNECTION, f"invalid framing: Transfer-Encoding {coding[:80]!r}, Content-Length {text!r}"
        )
    length = None if text is None else parse_count(text)
    if text is not None and length is None:
        raise _BadAnswer(Failure.CONNECTION, f"invalid Content-Length {text[:80]!r}")
    return length


def _too_slow(error: BaseException | None) -> TooSlow | None:
    """The `TooSlow` among an exception and those that it replaced; urllib3 drops its text."""
    while error is not None and not isinstance(error, TooSlow):
        error = error.__cause__ or error.__context__
    return error
