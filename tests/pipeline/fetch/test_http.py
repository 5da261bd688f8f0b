"""Whatever a host does, a hosted file is read whole and right, or fails with the right reason."""

import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.fetch.http import Manners, NotModified, Pace, RemoteFile
from pipeline.records.failures import ClipError
from tests.pipeline.host import Trouble, serving

DATA = random.Random(0).randbytes(300_000)


@pytest.fixture
def host():
    with serving(**{"a.tar": DATA}) as host:
        yield host


@pytest.fixture
def waits():
    """How long each wait would have been."""
    return []


def read(host, waits, *, path="/a.tar", attempts=4, timeout_s=1.0):
    manners = Manners(attempts=attempts, timeout_s=timeout_s, sleep=waits.append)
    with RemoteFile(host.url + path, manners) as file:
        return file.read()


def test_a_file_in_good_order(host, waits):
    assert read(host, waits) == DATA
    assert waits == []
    assert host.requests == [("/a.tar", None)]


PASSING = {
    "server errors": [Trouble(status=500), Trouble(status=502), Trouble(status=504)],
    "too busy": [Trouble(status=503), Trouble(status=429)],
    "reset at once": [Trouble(after=0)],
    "reset in mid-body": [Trouble(after=100_000), Trouble(after=50_000)],
    "ended early": [Trouble(end=100_000)],
    "silence": [Trouble(stall_s=1.6)],
    "silence after some bytes, then errors": [Trouble(after=70_000), Trouble(status=500), Trouble(after=70_000)],
    "no ranges": [Trouble(after=100_000), Trouble(ranges=False)],
}


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("trouble", PASSING)
def test_trouble_that_passes(host, waits, trouble, etags):
    host.etags = etags
    host.trouble("/a.tar", *PASSING[trouble])
    assert read(host, waits) == DATA
    assert len(waits) == len([each for each in PASSING[trouble] if each.ranges])


def test_a_body_is_resumed_where_it_broke(host, waits):
    host.trouble("/a.tar", Trouble(after=200_000))
    assert read(host, waits) == DATA
    (_, first), (_, second) = host.requests
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 200_000
    assert host.sent <= 1.5 * len(DATA)


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Trouble(status=404), "not_found"),
        (Trouble(status=410), "not_found"),
        (Trouble(status=403), "forbidden"),
        (Trouble(status=401), "forbidden"),
    ],
)
def test_trouble_that_asking_again_will_not_cure(host, waits, trouble, code):
    host.trouble("/a.tar", trouble)
    with pytest.raises(ClipError) as caught:
        read(host, waits)
    assert caught.value.code == code
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("trouble", "code"),
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
def test_trouble_without_end(host, waits, trouble, code):
    host.trouble("/a.tar", *[trouble] * 10)
    with pytest.raises(ClipError) as caught:
        read(host, waits)
    assert caught.value.code == code
    assert host.url in caught.value.detail
    assert len(waits) == 3


def test_nobody_listens(waits):
    with serving() as host:
        gone = host.url
    with pytest.raises(ClipError, match="connection"):
        RemoteFile(f"{gone}/a.tar", Manners(attempts=2, sleep=waits.append)).read()
    assert len(waits) == 1


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changes_between_two_attempts_is_noticed(host, waits, etags):
    host.etags = etags
    host.trouble("/a.tar", Trouble(after=100_000), Trouble(replace=DATA[:250_000]))
    with pytest.raises(ClipError, match="changed") as caught:
        read(host, waits)
    assert caught.value.code == "checksum_mismatch"


def test_retry_after_is_obeyed_within_reason(host, waits):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    host.trouble("/a.tar", *(Trouble(status=429, retry_after=text) for text in ("7", later, "100000")))
    assert read(host, waits) == DATA
    assert waits[0] == 7
    assert 40 <= waits[1] <= 50
    assert waits[2] == 120


def test_waits_grow_and_jitter(host, waits):
    host.trouble("/a.tar", *[Trouble(status=500)] * 6)
    assert read(host, waits, attempts=8) == DATA
    assert all(2**n * 0.5 <= wait <= 2**n * 1.5 for n, wait in enumerate(waits))


def test_redirects_are_followed(host, waits):
    host.trouble("/old.tar", Trouble(location="/a.tar"))
    assert read(host, waits, path="/old.tar") == DATA


def test_no_more_bytes_a_second_than_allowed(host):
    start = time.monotonic()
    with RemoteFile(f"{host.url}/a.tar", Manners(pace=Pace(1.5e6))) as file:
        assert file.read() == DATA
    assert time.monotonic() - start > 0.15  # 0.2 s for all but the last piece


def test_a_file_that_has_not_changed_is_not_sent_again(host):
    with RemoteFile(f"{host.url}/a.tar", Manners()) as file:
        file.read()
    host.sent = 0
    with pytest.raises(NotModified):
        RemoteFile(f"{host.url}/a.tar", Manners(), unless=file.version).read()
    assert host.sent == 0
    host.files["/a.tar"] = DATA[::-1]
    assert RemoteFile(f"{host.url}/a.tar", Manners(), unless=file.version).read() == DATA[::-1]
