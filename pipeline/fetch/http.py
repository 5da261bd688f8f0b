"""Sequential HTTP reader with retries, backoff and Range resume."""

import email.utils
import http.client
import io
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import requests
import urllib3

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
_USER_AGENT = "semi-supervised-meta-learning (dataset pipeline)"


class NotModified(Exception):
    """The hosted file is still the version named by `if_not_version`."""


class RateLimit:
    """At most `bytes_per_s` on average over all readers that share it; None: unlimited. Thread-safe."""

    def __init__(self, bytes_per_s: float | None = None) -> None:
        self._rate, self._next_slot = bytes_per_s, 0.0
        self._lock = threading.Lock()

    def acquire(self, count: int, sleep: Callable[[float], None]) -> None:
        """Sleep until the rate limit allows `count` more bytes."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            slot = max(self._next_slot, now)
            self._next_slot = slot + count / self._rate
        if slot > now:
            sleep(slot - now)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to retry, and how fast to read."""

    attempts: int = 8  # consecutive ones without a single byte
    timeout_s: float = 30.0  # to connect, and between two reads of a body
    backoff_s: float = 1.0  # before the second attempt; doubled for each further one, with jitter
    max_wait_s: float = 120.0  # upper bound of any wait, Retry-After included
    rate_limit: RateLimit = field(default_factory=RateLimit, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


class RemoteFile(io.RawIOBase):
    """The body of `url` as a readable stream that reconnects and resumes after errors.

    Args:
        url: http or https.
        policy: retries and rate.
        session: for certificates and connection reuse; a new one by default.
        position: first byte to read.
        version: of the bytes before `position`; the rest must have the same.
        if_not_version: send the body only if the hosted file has another version.

    Raises:
        NotModified: from the first read, see `if_not_version`.
        ClipError: from any read. not_found and forbidden at once; rate_limited, timeout, connection or truncated after
            `policy.attempts` consecutive failures; checksum_mismatch when the hosted file has changed.
    """

    def __init__(
        self,
        url: str,
        policy: RetryPolicy,
        session: requests.Session | None = None,
        *,
        position: int = 0,
        version: str | None = None,
        if_not_version: str | None = None,
    ) -> None:
        super().__init__()
        self.url, self._policy, self._session = url, policy, session or requests.Session()
        self._position, self._failures = position, 0
        self.size: int | None = None  # bytes of the whole file, once known
        self.version = version  # strong ETag or Last-Modified
        self._if_not_version = if_not_version
        self._response: requests.Response | None = None

    def readable(self) -> bool:
        """Always readable."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to `len(buffer)` bytes; 0 at the end of the file."""
        while self.size is None or self._position < self.size:
            try:
                response = self._response or self._connect()
                data = cast(bytes, response.raw.read1(len(buffer)))  # no more than has been received already
            except requests.exceptions.SSLError as error:
                raise ClipError(
                    Failure.CONNECTION, f"{self.url}: its certificate cannot be verified: {error}"
                ) from None
            except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
                self._retry(Failure.TIMEOUT, error)
                continue
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                early = any(isinstance(cause, http.client.IncompleteRead) for cause in error.args)
                self._retry(Failure.TRUNCATED if early else Failure.CONNECTION, error)
                continue
            if data:
                self._position += len(data)
                self._failures = 0
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
        super().close()

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
        if self._position:
            headers["Range"] = f"bytes={self._position}-"
            if self.version is not None:
                headers["If-Range"] = self.version
        if self._if_not_version is not None:
            is_etag = self._if_not_version.startswith('"')
            headers["If-None-Match" if is_etag else "If-Modified-Since"] = self._if_not_version
        return headers

    def _accept(self, response: requests.Response) -> None:
        """Check that the response is of the same version and skip to the current position."""
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if version is not None and version.startswith("W/"):
            version = None  # a weak ETag does not promise equal bytes
        length = response.headers.get("Content-Length")
        if response.status_code == 206:
            begin, total = _parse_content_range(response.headers.get("Content-Range", ""))
        else:  # a host without Range support sends the file from its start
            begin, total = 0, int(length) if length and length.isdigit() else None
        skip = self._position - begin
        changed = self.version is not None and version is not None and version != self.version
        if changed or skip < 0 or (self.size is not None and total not in (None, self.size)):
            raise ClipError(Failure.CHECKSUM_MISMATCH, f"{self.url} has changed since its first bytes were read")
        self.version, self.size = version or self.version, total if total is not None else self.size
        while skip:
            skipped = len(response.raw.read(min(skip, 1 << 20)))
            if not skipped:
                raise urllib3.exceptions.ProtocolError(f"the body ended before byte {self._position:,}")
            skip -= skipped

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
        self._policy.sleep(min(max(wait, _parse_retry_after(retry_after)), self._policy.max_wait_s))

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


def _parse_content_range(text: str) -> tuple[int, int | None]:
    """`bytes 5-9/10` as (5, 10); the total may be `*`."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    begin = span.partition("-")[0]
    if unit != "bytes" or not begin.isdigit():
        raise urllib3.exceptions.ProtocolError(f"partial response without a valid Content-Range: {text!r}")
    return int(begin), int(total) if total.isdigit() else None


def _parse_retry_after(value: str | None) -> float:
    """Seconds to wait; RFC 9110, 10.2.3: a number of seconds, or a date."""
    if not value:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
