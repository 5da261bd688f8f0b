"""Hosted files by their official URL: located, and downloaded with resume."""

import random
import threading

import fsspec
import pytest

from common.errors import WorkError
from pipeline.fetch.disk import Disk
from pipeline.fetch.hosts import LIST_LIMIT, Cancelled, Hosts
from pipeline.fetch.http import RetryPolicy
from pipeline.fetch.site import Site
from pipeline.records.failures import ClipError
from tests.pipeline.host import Fault, serving

DATA = random.Random(0).randbytes(500_000)
URL = "https://data.example/sets/a.zip"
PATH = "/mirrored/a.zip"
SITES = (Site("https://data.example/sets/", "mirrored"),)


@pytest.fixture
def host():
    with serving(**{"mirrored/a.zip": DATA}) as host:
        yield host


@pytest.fixture
def target(tmp_path):
    return tmp_path / "raw/a.zip"


def hosts(host, *, attempts=1, disk=None):
    retry = RetryPolicy(attempts=attempts, timeout_s=1.0, sleep=lambda seconds: None)
    return Hosts(SITES, host.url, retry, *([disk] if disk else []))


def break_off(host, target, *, after):
    """Start a download of which the first `after` bytes are sent."""
    host.queue_faults(PATH, Fault(after=after))
    with pytest.raises(ClipError, match="connection"):
        hosts(host).download(URL, target)


def test_url_is_located_by_its_site():
    assert Hosts(SITES).locate(URL) == URL
    assert Hosts(SITES, "mirror/").locate(URL) == "mirror/mirrored/a.zip"
    with pytest.raises(WorkError, match=r"known hosts are https://data\.example/sets/"):
        Hosts(SITES, "mirror").locate("https://elsewhere.example/a.zip")


@pytest.mark.parametrize(
    ("certificates", "verify", "expected"), [(None, True, True), ("a.pem", True, "a.pem"), ("a.pem", False, False)]
)
def test_certificates_are_checked_as_the_site_requires(certificates, verify, expected):
    site = Site("https://data.example/sets/", "mirrored", certificates, verify)
    assert Hosts((site,))._session(URL).verify == expected
    assert Hosts((site,))._session("https://elsewhere.example/a.zip").verify is True
    assert Hosts((site,), "https://mirror.example")._session(URL).verify is True


def test_broken_download_resumes_in_the_next_run(host, target):
    break_off(host, target, after=300_000)
    break_off(host, target, after=100_000)
    assert not target.exists()
    assert hosts(host).download(URL, target).read_bytes() == DATA
    assert host.sent <= len(DATA) + 2 * (1 << 17)  # plus bytes in flight when the connection broke
    assert [path.name for path in target.parent.iterdir()] == ["a.zip"]
    host.requests.clear()
    assert hosts(host).download(URL, target) == target
    assert host.requests == []


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", None], ids=["without size", "with size"])
def test_file_over_the_limit_is_not_kept(host, target, monkeypatch, head):
    monkeypatch.setattr("pipeline.fetch.hosts.FILE_LIMIT", 400_000)
    if head is not None:
        host.queue_faults(PATH, Fault(raw=head + DATA))
    with pytest.raises(ClipError, match=r"too_large: https://data\.example/sets/a\.zip has more than"):
        hosts(host).download(URL, target)
    assert not target.parent.exists() or not list(target.parent.iterdir())


def test_finished_download_that_was_not_renamed_is_not_fetched_again(host, target, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.fetch.partial.PartialFile.finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            hosts(host).download(URL, target)
    host.requests.clear()
    assert hosts(host).download(URL, target).read_bytes() == DATA
    assert host.requests == []


def test_file_that_changed_between_two_runs_is_fetched_anew(host, target):
    break_off(host, target, after=300_000)
    host.files[PATH] = DATA[::-1]
    assert hosts(host).download(URL, target).read_bytes() == DATA[::-1]


def test_bytes_that_a_power_cut_damaged_are_fetched_anew(host, target):
    break_off(host, target, after=300_000)
    partial = target.with_name(".resume-a.zip")
    size = partial.stat().st_size
    with partial.open("r+b") as file:
        file.truncate(size - 500)
        file.truncate(size)
    assert hosts(host).download(URL, target).read_bytes() == DATA


def test_bytes_without_a_version_are_fetched_anew(host, target):
    host.etags = False
    break_off(host, target, after=300_000)
    host.files[PATH] = DATA[::-1]
    assert hosts(host).download(URL, target).read_bytes() == DATA[::-1]


def test_file_that_changes_during_a_download_is_an_error_and_leaves_nothing(host, target):
    host.queue_faults(PATH, Fault(after=300_000), Fault(replace=DATA[::-1]))
    with pytest.raises(ClipError, match="checksum_mismatch"):
        hosts(host, attempts=3).download(URL, target)
    assert list(target.parent.iterdir()) == []


def test_download_from_an_fsspec_mirror(target):
    with fsspec.open("memory://mirror/mirrored/a.zip", "wb") as file:
        file.write(DATA)
    assert Hosts(SITES, "memory://mirror").download(URL, target).read_bytes() == DATA


def test_file_of_a_local_mirror_is_used_in_place(tmp_path, target):
    path = tmp_path / "mirror/mirrored/a.zip"
    with pytest.raises(WorkError, match="is not there"):
        Hosts(SITES, str(tmp_path / "mirror")).download(URL, target)
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    local = Hosts(SITES, str(tmp_path / "mirror"))
    assert local.download(URL, target) == path
    local.discard(URL, target)
    assert path.read_bytes() == DATA
    assert not target.parent.exists()


def test_download_over_the_disk_budget_fails_before_its_first_byte(host, target, tmp_path):
    disk = Disk(tmp_path, 0.0004)
    with pytest.raises(WorkError, match=r"a\.zip needs 0\.50 MB: 0\.00 MB of download\.disk_gb, 0\.0004"):
        hosts(host, disk=disk).download(URL, target)
    assert not target.parent.exists()


def test_resumed_bytes_are_counted_once_and_returned_when_discarded(host, target, tmp_path):
    break_off(host, target, after=300_000)
    disk = Disk(tmp_path, 0.00052)
    hosts(host, disk=disk).download(URL, target)
    with pytest.raises(WorkError):
        disk.reserve(300_000, "b")
    hosts(host, disk=disk).discard(URL, target)
    disk.reserve(300_000, "b")


def test_cancelled_download_keeps_its_bytes(host, target):
    host.always = Fault(drip=(10_000, 0.02))
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(Cancelled):
        hosts(host).download(URL, target, cancel)
    host.sent = 0
    host.always = Fault()
    assert hosts(host).download(URL, target).read_bytes() == DATA
    assert 0 < host.sent < len(DATA)


def test_list_over_the_limit_is_an_error(tmp_path):
    path = tmp_path / "mirrored/a.zip"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(LIST_LIMIT + 1)
    with pytest.raises(WorkError, match="is larger than 64 MB: not an annotation list"):
        Hosts(SITES, str(tmp_path)).read_text(URL)
