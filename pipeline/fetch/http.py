"""A hosted file read front to back as if the network never failed: resumed in mid-body, with patience and manners."""

import email.utils
import hashlib
import http.client
import io
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
import urllib3
from tqdm import tqdm

from common.files import write_json
from pipeline.records.failures import ClipError, Failure

_BUSY = {408: Failure.TIMEOUT, 425: Failure.CONNECTION, 429: Failure.RATE_LIMITED, 503: Failure.RATE_LIMITED}
_GONE = {401: Failure.FORBIDDEN, 403: Failure.FORBIDDEN, 404: Failure.NOT_FOUND, 410: Failure.NOT_FOUND}
_AGENT = "semi-supervised-meta-learning (dataset pipeline)"


class Pace:
    """No more than `bytes_per_s` on average, over all that is spent; None: as fast as it comes."""

    def __init__(self, bytes_per_s: float | None = None) -> None:
        self._rate, self._free_at = bytes_per_s, 0.0

    def spend(self, count: int, sleep: Callable[[float], None]) -> None:
        """Wait until what was spent before is paid for, then spend `count` bytes."""
        if self._rate is None:
            return
        now = time.monotonic()
        if self._free_at > now:
            sleep(self._free_at - now)
        self._free_at = max(self._free_at, now) + count / self._rate


class NotModified(Exception):
    """The host's file is still the version that is here."""


@dataclass(frozen=True)
class Manners:
    """How patiently to ask."""

    attempts: int = 8  # in a row without a single byte
    timeout_s: float = 30.0  # to connect, and between two pieces of a body
    backoff_s: float = 1.0  # before the second attempt; doubled for each further one, with jitter
    longest_s: float = 120.0  # wait before any attempt, whatever the host asks for
    pace: Pace = field(default_factory=Pace, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)


class RemoteFile(io.RawIOBase):
    """The body of `url`, as a readable stream. What goes wrong for good is a `ClipError` of a connection code.

    Raises:
        ClipError: from any read. not_found and forbidden at once; rate_limited, timeout, connection or truncated when
            `attempts` in a row brought nothing; checksum_mismatch when the file changed while it was read.
    """

    def __init__(
        self,
        url: str,
        manners: Manners,
        session: requests.Session | None = None,
        *,
        position: int = 0,
        version: str | None = None,
        unless: str | None = None,
    ) -> None:
        """Read from byte `position` on, of the same `version` as the bytes before it.

        Raises:
            NotModified: from the first read: the host's file is still of version `unless`.
        """
        super().__init__()
        self.url, self._manners, self._session = url, manners, session or requests.Session()
        self._position, self._failures = position, 0
        self.size: int | None = None  # bytes, once known
        self.version = version  # strong ETag or Last-Modified of what is being read
        self._unless = unless
        self._body: requests.Response | None = None
        self._trouble = ClipError(Failure.CONNECTION, f"{url}: no answer")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to `len(buffer)` bytes; 0 at the end of the file."""
        while True:
            if self.size is not None and self._position >= self.size:
                return 0
            try:
                if self._body is None:
                    self._connect()
                data = self._body.raw.read1(len(buffer))  # type: ignore[union-attr]  # what has come so far
            except requests.exceptions.SSLError as error:
                raise ClipError(
                    Failure.CONNECTION, f"{self.url}: its certificate cannot be verified: {error}"
                ) from None
            except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
                self._lost(Failure.TIMEOUT, error)
                continue
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                early = any(isinstance(cause, http.client.IncompleteRead) for cause in error.args)
                self._lost(Failure.TRUNCATED if early else Failure.CONNECTION, error)
                continue
            if data:
                self._position += len(data)
                self._failures = 0
                buffer[: len(data)] = data
                self._manners.pace.spend(len(data), self._manners.sleep)
                return len(data)
            if self.size is None:
                self.size = self._position  # the host did not say, and closed the connection in good order
            elif self._position < self.size:
                self._lost(Failure.TRUNCATED, f"the body ended at byte {self._position} of {self.size}")

    def close(self) -> None:
        """Let go of the connection."""
        self._drop()
        super().close()

    def _connect(self) -> None:
        """Ask for the rest of the file; wait and ask again while the host is busy."""
        while True:
            headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
            if self._position:
                headers["Range"] = f"bytes={self._position}-"
                if self.version is not None:
                    headers["If-Range"] = self.version
            if self._unless is not None:
                headers["If-None-Match" if self._unless.startswith('"') else "If-Modified-Since"] = self._unless
            # `verify` is said again: by itself, requests lets REQUESTS_CA_BUNDLE overrule the session.
            answer = self._session.get(
                self.url,
                headers=headers,
                stream=True,
                timeout=self._manners.timeout_s,
                verify=None if self._session.verify is True else self._session.verify,
            )
            if answer.status_code in (200, 206):
                self._accept(answer)
                return
            answer.close()
            if answer.status_code == 304 and self._unless is not None:
                raise NotModified
            if answer.status_code in _GONE:
                raise ClipError(_GONE[answer.status_code], f"{self.url}: {answer.status_code} {answer.reason}")
            if answer.status_code == 416 and self._position:
                raise ClipError(Failure.CHECKSUM_MISMATCH, f"{self.url} has become shorter while it was read")
            code = _BUSY.get(answer.status_code, Failure.CONNECTION)
            self._lost(code, f"{answer.status_code} {answer.reason}", answer.headers.get("Retry-After"))

    def _accept(self, answer: requests.Response) -> None:
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if version is not None and version.startswith("W/"):
            version = None  # a weak ETag does not promise the same bytes
        length = answer.headers.get("Content-Length")
        if answer.status_code == 206:
            begin, total = _content_range(answer.headers.get("Content-Range", ""))
            rest = self._position - begin
        else:
            total, rest = int(length) if length and length.isdigit() else None, self._position
        changed = self.version is not None and version is not None and version != self.version
        if changed or rest < 0 or (self.size is not None and total not in (None, self.size)):
            answer.close()
            raise ClipError(Failure.CHECKSUM_MISMATCH, f"{self.url} has changed while it was read")
        self.version, self.size = version or self.version, total if total is not None else self.size
        while rest:  # a host without ranges starts from the beginning: what is here already is passed over
            passed = len(answer.raw.read(min(rest, 1 << 20)))
            if not passed:
                raise urllib3.exceptions.ProtocolError("the body ended before the place to resume at")
            rest -= passed
        self._body = answer

    def _lost(self, code: Failure, why: object, retry_after: str | None = None) -> None:
        """Note the trouble and wait; give up when it has lasted too long."""
        self._drop()
        self._failures += 1
        self._trouble = ClipError(code, f"{self.url}: {why}")
        if self._failures >= self._manners.attempts:
            raise self._trouble from None
        wait = self._manners.backoff_s * 2 ** (self._failures - 1) * random.uniform(0.5, 1.5)
        self._manners.sleep(min(max(wait, _seconds(retry_after)), self._manners.longest_s))

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def fetch(url: str, target: Path, manners: Manners, session: requests.Session | None = None) -> None:
    """Download `url` to `target`; a download that was killed carries on where it stopped, if the file is still the same.

    Beside the file lands `<name>.json` with its url, size, version and sha256.

    Raises:
        ClipError: as `RemoteFile`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part, note = (target.with_name(f".resume-{target.name}{suffix}") for suffix in ("", ".json"))
    position, version = _resumable(part, note, url)
    with (
        RemoteFile(url, manners, session, position=position, version=version) as remote,
        part.open("ab" if position else "wb") as file,
        tqdm(desc=target.name, initial=position, unit="B", unit_scale=True, disable=None) as bar,
    ):
        try:
            while block := remote.read(1 << 20):
                if file.tell() == 0:
                    write_json(note, {"url": url, "version": remote.version})
                file.write(block)
                bar.total = remote.size
                bar.update(len(block))
        except ClipError as error:
            if error.code is Failure.CHECKSUM_MISMATCH:  # what is here is of no use any more
                part.unlink(missing_ok=True)
            raise
        os.fsync(file.fileno())
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    about = {"url": url, "bytes": part.stat().st_size, "version": remote.version, "sha256": digest}
    write_json(target.with_name(f"{target.name}.json"), about)
    part.replace(target)
    note.unlink(missing_ok=True)


def _resumable(part: Path, note: Path, url: str) -> tuple[int, str | None]:
    """Where to carry on, and which version of the file the bytes so far are of; without a version they are not trusted."""
    try:
        about = json.loads(note.read_text())
        version = about["version"] if about["url"] == url else None
        return (part.stat().st_size, str(version)) if version else (0, None)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None


def _content_range(text: str) -> tuple[int, int | None]:
    """`bytes 5-9/10` as (5, 10); the total may be `*`."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    begin = span.partition("-")[0]
    if unit != "bytes" or not begin.isdigit():
        raise urllib3.exceptions.ProtocolError(f"a partial answer without its place: {text!r}")
    return int(begin), int(total) if total.isdigit() else None


def _seconds(retry_after: str | None) -> float:
    """RFC 9110, 10.2.3: a number of seconds, or a date."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
