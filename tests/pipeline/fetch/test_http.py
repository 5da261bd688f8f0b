"""RemoteFile against a host with faults: the file is read complete and correct, or fails with the right code."""

import itertools
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.fetch.http import NotModified, RateLimit, RemoteFile, RetryPolicy
from pipeline.records.failures import ClipError
from tests.pipeline.host import Fault, serving

DATA = random.Random(0).randbytes(300_000)


@pytest.fixture
def host():
    with serving(**{"a.tar": DATA}) as host:
        yield host


@pytest.fixture
def waits():
    """Seconds of each wait between attempts; nothing sleeps."""
    return []


def read(host, waits, *, path="/a.tar", attempts=4, timeout_s=1.0):
    policy = RetryPolicy(attempts=attempts, timeout_s=timeout_s, sleep=waits.append)
    with RemoteFile(host.url + path, policy) as file:
        return file.read()


def test_file_without_faults_is_read_in_one_request(host, waits):
    assert read(host, waits) == DATA
    assert waits == []
    assert host.requests == [("/a.tar", None)]


TRANSIENT_FAULTS = {
    "server errors": [Fault(status=500), Fault(status=502), Fault(status=504)],
    "too busy": [Fault(status=503), Fault(status=429)],
    "reset at once": [Fault(after=0)],
    "reset in mid-body": [Fault(after=100_000), Fault(after=50_000)],
    "ended early": [Fault(end=100_000)],
    "stall": [Fault(stall_s=1.6)],
    "resets and errors": [Fault(after=70_000), Fault(status=500), Fault(after=70_000)],
    "no ranges": [Fault(after=100_000), Fault(ranges=False)],
}


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("faults", TRANSIENT_FAULTS)
def test_transient_fault_is_retried(host, waits, faults, etags):
    host.etags = etags
    host.queue_faults("/a.tar", *TRANSIENT_FAULTS[faults])
    assert read(host, waits) == DATA
    assert len(waits) == len([fault for fault in TRANSIENT_FAULTS[faults] if fault.ranges])


def test_read_resumes_at_the_byte_where_it_broke(host, waits):
    host.queue_faults("/a.tar", Fault(after=200_000))
    assert read(host, waits) == DATA
    (_, first), (_, second) = host.requests
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 200_000
    assert host.sent <= 1.5 * len(DATA)


@pytest.mark.parametrize(
    ("status", "code"), [(404, "not_found"), (410, "not_found"), (403, "forbidden"), (401, "forbidden")]
)
def test_permanent_status_is_not_retried(host, waits, status, code):
    host.queue_faults("/a.tar", Fault(status=status))
    with pytest.raises(ClipError) as caught:
        read(host, waits)
    assert caught.value.code == code
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(status=429), "rate_limited"),
        (Fault(status=503), "rate_limited"),
        (Fault(status=500), "connection"),
        (Fault(after=0), "connection"),
        (Fault(stall_s=1.6), "timeout"),
        (Fault(end=0), "truncated"),
        (Fault(claim=10, ranges=False), "truncated"),
    ],
)
def test_lasting_fault_is_typed_after_the_last_attempt(host, waits, fault, code):
    host.queue_faults("/a.tar", *[fault] * 10)
    with pytest.raises(ClipError) as caught:
        read(host, waits)
    assert caught.value.code == code
    assert host.url in caught.value.detail
    assert len(waits) == 3


def test_refused_connection_is_retried_and_typed(waits):
    with serving() as host:
        closed = host.url
    with pytest.raises(ClipError, match="connection"):
        RemoteFile(f"{closed}/a.tar", RetryPolicy(attempts=2, sleep=waits.append)).read()
    assert len(waits) == 1


@pytest.mark.parametrize("etags", [True, False])
def test_file_that_changes_between_two_attempts_is_an_error(host, waits, etags):
    host.etags = etags
    host.queue_faults("/a.tar", Fault(after=100_000), Fault(replace=DATA[:250_000]))
    with pytest.raises(ClipError, match="changed") as caught:
        read(host, waits)
    assert caught.value.code == "checksum_mismatch"


def test_retry_after_sets_the_wait_up_to_a_limit(host, waits):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    host.queue_faults("/a.tar", *(Fault(status=429, retry_after=text) for text in ("7", later, "100000")))
    assert read(host, waits) == DATA
    assert waits[0] == 7
    assert 40 <= waits[1] <= 50
    assert waits[2] == 120


def test_waits_double_with_jitter(host, waits):
    host.queue_faults("/a.tar", *[Fault(status=500)] * 6)
    assert read(host, waits, attempts=8) == DATA
    assert all(2**n * 0.5 <= wait <= 2**n * 1.5 for n, wait in enumerate(waits))


def test_redirects_are_followed(host, waits):
    host.queue_faults("/old.tar", Fault(location="/a.tar"))
    assert read(host, waits, path="/old.tar") == DATA


def test_rate_limit_bounds_the_rate_of_one_reader(host):
    start = time.monotonic()
    with RemoteFile(f"{host.url}/a.tar", RetryPolicy(rate_limit=RateLimit(1.5e6))) as file:
        assert file.read() == DATA
    assert time.monotonic() - start > 0.15  # 0.2 s for all but the last piece


def test_rate_limit_is_shared_by_threads():
    limit, waits = RateLimit(1e6), []
    threads = [
        threading.Thread(target=lambda: [limit.acquire(1000, waits.append) for _ in range(250)]) for _ in range(4)
    ]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    longest = max(waits) + time.monotonic() - start
    assert longest >= 0.999  # 1000 pieces of 1 ms, of which the first does not wait


def test_unchanged_file_is_not_sent_again(host):
    with RemoteFile(f"{host.url}/a.tar", RetryPolicy()) as file:
        file.read()
    host.sent = 0
    with pytest.raises(NotModified):
        RemoteFile(f"{host.url}/a.tar", RetryPolicy(), if_not_version=file.version).read()
    assert host.sent == 0
    host.files["/a.tar"] = DATA[::-1]
    assert RemoteFile(f"{host.url}/a.tar", RetryPolicy(), if_not_version=file.version).read() == DATA[::-1]


def answer(*headers, body=DATA, status="200 OK"):
    return b"\r\n".join([f"HTTP/1.1 {status}".encode(), *(header.encode("latin-1") for header in headers), b"", body])


def chunked(*chunks):
    return answer("Transfer-Encoding: chunked", body=b"".join(chunks))


MALFORMED = {
    "superscript length": answer("Content-Length: 30000²"),
    "length with underscores": answer("Content-Length: 300_000"),
    "length of 5,000 digits": answer("Content-Length: " + "9" * 5000),
    "negative length": answer("Content-Length: -300000"),
    "fractional length": answer("Content-Length: 300000.0"),
    "two lengths": answer("Content-Length: 300000", "Content-Length: 200000"),
    "length of a chunked body": answer(
        "Content-Length: 4", "Transfer-Encoding: chunked", body=b"4\r\nabcd\r\n0\r\n\r\n"
    ),
    "unknown transfer coding": answer("Transfer-Encoding: gzip, chunked", body=b"4\r\nabcd\r\n0\r\n\r\n"),
    "negative chunk": chunked(b"-4\r\nabcd\r\n0\r\n\r\n"),
    "chunk size with a prefix": chunked(b"0x4\r\nabcd\r\n0\r\n\r\n"),
    "superscript chunk size": chunked("4²\r\n".encode("latin-1"), DATA),
    "chunk size of 5,000 digits": chunked(b"9" * 5000, b"\r\n", DATA),
    "chunk longer than its size": chunked(b"4\r\nabcdef\r\n0\r\n\r\n"),
    "chunk size line of 4 kB": chunked(b"4;", b"x" * 4096, b"\r\nabcd\r\n0\r\n\r\n"),
    "no last chunk": chunked(b"4\r\nabcd\r\n"),
    "trailers without end": chunked(b"0\r\n", b"a: b\r\n" * 500_000),
    "status line without end": b"HTTP/1.1 200 " + b"x" * 500_000,
    "thousands of headers": answer(*["a: b"] * 5000),
    "continue without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
    "headers cut short": b"HTTP/1.1 200 OK\r\nServer: a\r\n",
    "header without a colon": answer("Server: a", "no colon", "Content-Length: 300000"),
    "status of four digits": answer("Content-Length: 300000", status="2000 OK"),
    "unknown protocol": b"ICY 200 OK\r\n\r\n",
    "nothing": b"",
    "redirect to another scheme": answer("Location: file:///etc/hostname", body=b"", status="302 Found"),
    "redirect to a bad IPv6 address": answer("Location: http://[::1/a", body=b"", status="302 Found"),
    "redirect to bad UTF-8": answer("Location: http://a\xff\xfe.invalid/\xff", body=b"", status="302 Found"),
    "redirect to a long label": answer("Location: http://" + "a" * 70 + ".invalid/", body=b"", status="302 Found"),
    "redirect to a port out of range": answer("Location: http://127.0.0.1:99999/", body=b"", status="302 Found"),
    "part without a range": answer("Content-Length: 300000", status="206 Partial Content"),
    "part with a superscript range": answer("Content-Range: bytes 0-299999/30000²", status="206 Partial Content"),
    "part of a negative range": answer("Content-Range: bytes 0--1/300000", status="206 Partial Content"),
    "part of unknown size": answer("Content-Range: bytes 0-299999/*", status="206 Partial Content"),
    "compressed": answer("Content-Encoding: gzip", "Content-Length: 300000"),
}


@pytest.mark.parametrize("raw", MALFORMED)
def test_malformed_response_is_typed(host, waits, raw):
    host.always = Fault(raw=MALFORMED[raw])
    with pytest.raises(ClipError) as caught:
        read(host, waits, attempts=2)
    assert caught.value.code in ("connection", "truncated")


@pytest.mark.parametrize("text", ["²", "9" * 5000, "-5", "1e3", "Wed, 21 Oct 1000000000000 07:28:00 GMT", "", "soon"])
def test_invalid_retry_after_is_ignored(host, waits, text):
    host.queue_faults(
        "/a.tar", Fault(raw=answer(f"Retry-After: {text}", "Content-Length: 0", body=b"", status="503 Busy"))
    )
    assert read(host, waits) == DATA
    assert waits[0] <= 1.5


WRONG_PARTS = {
    "begins elsewhere": (lambda begin: f"bytes {begin + 2}-299999/300000", lambda begin: DATA[begin + 2 :]),
    "is not of its length": (lambda begin: f"bytes {begin}-299999/300000", lambda begin: DATA),
    "is of another size": (lambda begin: f"bytes {begin}-399999/400000", lambda begin: bytes(400_000 - begin)),
}


@pytest.mark.parametrize("with_length", [True, False])
@pytest.mark.parametrize("part", WRONG_PARTS)
def test_wrong_part_is_never_appended(host, waits, part, with_length):
    content_range, body = WRONG_PARTS[part]
    host.queue_faults("/a.tar", Fault(end=200_000))
    with RemoteFile(f"{host.url}/a.tar", RetryPolicy(attempts=2, timeout_s=1.0, sleep=waits.append)) as file:
        begin = len(file.read(200_000)) - 1024  # the last bytes are requested again
        data = body(begin)
        if with_length:
            framing = f"Content-Length: {len(data)}"
        else:
            framing, data = "Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
        part = Fault(raw=answer(f"Content-Range: {content_range(begin)}", framing, body=data, status="206 Part"))
        host.queue_faults("/a.tar", *[part] * 3)
        with pytest.raises(ClipError) as caught:
            file.read()
    assert caught.value.code == "checksum_mismatch"


SLOW = {
    "body": Fault(drip=(1, 0.002)),
    "headers": Fault(raw=answer(f"Server: {'a' * 5000}"), drip=(1, 0.002)),
    "chunk size": Fault(raw=chunked(b"4;" + b"x" * 1000), drip=(1, 0.002)),
}


@pytest.mark.parametrize("fault", SLOW)
def test_host_slower_than_the_least_rate_is_a_timeout(host, waits, fault):
    host.always = SLOW[fault]
    policy = RetryPolicy(attempts=3, sleep=waits.append, clock=itertools.count().__next__)  # each read takes a second
    with pytest.raises(ClipError, match="60,000 are the least") as caught:
        RemoteFile(f"{host.url}/a.tar", policy).read()
    assert caught.value.code == "timeout"
    assert len(waits) == 2


def test_time_between_reads_does_not_count_against_the_least_rate(host, waits):
    now = itertools.count(step=100)
    policy = RetryPolicy(attempts=1, min_bytes_per_minute=1, sleep=waits.append, clock=lambda: next(now) // 200 * 200)
    with RemoteFile(f"{host.url}/a.tar", policy) as file:
        assert file.read() == DATA


def test_host_that_sends_a_few_bytes_per_connection_is_typed(host, waits):
    host.always = Fault(after=10)
    with pytest.raises(ClipError, match="connection"):
        read(host, waits)
    assert len(host.requests) <= 4


def test_body_of_a_redirect_is_not_read(host, waits):
    endless = answer("Location: /a.tar", body=b"x" * 50_000_000, status="302 Found")
    host.queue_faults("/old.tar", Fault(raw=endless, drip=(1 << 20, 0.0)))
    assert read(host, waits, path="/old.tar") == DATA
    assert host.sent < 30_000_000


def test_bytes_before_the_position_are_compared(host, waits):
    host.etags = False
    host.queue_faults("/a.tar", Fault(after=200_000), Fault(replace=DATA[::-1]))
    with pytest.raises(ClipError, match="are others now") as caught:
        read(host, waits)
    assert caught.value.code == "checksum_mismatch"
