"""RemoteFile against a host with faults: the file is read complete and correct, or fails with the right code."""

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
