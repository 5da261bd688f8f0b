"""RemoteFile against a host with faults: the file is read complete and correct, or fails with the right code."""

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.fetch.http import NotModified, RateLimit, RemoteFile, RetryPolicy
from pipeline.records.failures import ClipError
from tests.pipeline.host import Trouble, serving

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
    "server errors": [Trouble(status=500), Trouble(status=502), Trouble(status=504)],
    "too busy": [Trouble(status=503), Trouble(status=429)],
    "reset at once": [Trouble(after=0)],
    "reset in mid-body": [Trouble(after=100_000), Trouble(after=50_000)],
    "ended early": [Trouble(end=100_000)],
    "stall": [Trouble(stall_s=1.6)],
    "resets and errors": [Trouble(after=70_000), Trouble(status=500), Trouble(after=70_000)],
    "no ranges": [Trouble(after=100_000), Trouble(ranges=False)],
}


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("faults", TRANSIENT_FAULTS)
def test_transient_fault_is_retried(host, waits, faults, etags):
    host.etags = etags
    host.trouble("/a.tar", *TRANSIENT_FAULTS[faults])
    assert read(host, waits) == DATA
    assert len(waits) == len([fault for fault in TRANSIENT_FAULTS[faults] if fault.ranges])


def test_read_resumes_at_the_byte_where_it_broke(host, waits):
    host.trouble("/a.tar", Trouble(after=200_000))
    assert read(host, waits) == DATA
    (_, first), (_, second) = host.requests
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 200_000
    assert host.sent <= 1.5 * len(DATA)


@pytest.mark.parametrize(
    ("status", "code"), [(404, "not_found"), (410, "not_found"), (403, "forbidden"), (401, "forbidden")]
)
def test_permanent_status_is_not_retried(host, waits, status, code):
    host.trouble("/a.tar", Trouble(status=status))
    with pytest.raises(ClipError) as caught:
        read(host, waits)
    assert caught.value.code == code
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Trouble(status=429), "rate_limited"),
        (Trouble(status=503), "rate_limited"),
        (Trouble(status=500), "connection"),
        (Trouble(after=0), "connection"),
        (Trouble(stall_s=1.6), "timeout"),
        (Trouble(end=0), "truncated"),
        (Trouble(claim=10, ranges=False), "truncated"),
    ],
)
def test_lasting_fault_is_typed_after_the_last_attempt(host, waits, fault, code):
    host.trouble("/a.tar", *[fault] * 10)
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
    host.trouble("/a.tar", Trouble(after=100_000), Trouble(replace=DATA[:250_000]))
    with pytest.raises(ClipError, match="changed") as caught:
        read(host, waits)
    assert caught.value.code == "checksum_mismatch"


def test_retry_after_sets_the_wait_up_to_a_limit(host, waits):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    host.trouble("/a.tar", *(Trouble(status=429, retry_after=text) for text in ("7", later, "100000")))
    assert read(host, waits) == DATA
    assert waits[0] == 7
    assert 40 <= waits[1] <= 50
    assert waits[2] == 120


def test_waits_double_with_jitter(host, waits):
    host.trouble("/a.tar", *[Trouble(status=500)] * 6)
    assert read(host, waits, attempts=8) == DATA
    assert all(2**n * 0.5 <= wait <= 2**n * 1.5 for n, wait in enumerate(waits))


def test_redirects_are_followed(host, waits):
    host.trouble("/old.tar", Trouble(location="/a.tar"))
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
