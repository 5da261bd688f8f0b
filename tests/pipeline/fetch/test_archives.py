"""Archives from the internet: selected members are written, damage is typed, and a killed run loses next to nothing."""

import contextlib
import gzip
import io
import random
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile

import pytest

from common.errors import WorkError
from pipeline.fetch.archives import TarArchive, extract_zip_member, read_tar, remove_spools
from pipeline.fetch.disk import Disk
from pipeline.fetch.hosts import Hosts, Site
from pipeline.fetch.http import RetryPolicy
from pipeline.records.failures import ClipError, Failure
from tests.conftest import REPO
from tests.pipeline.host import Trouble, serving

SITES = (Site("https://data.example/", "data"),)
URL = "https://data.example/train/a.tar.gz"
NEXT_URL = "https://data.example/train/b.tar.gz"
PATH, NEXT_PATH = "/data/train/a.tar.gz", "/data/train/b.tar.gz"


def tar(*members, level=1, end=True):
    """A tar.gz of (name, bytes or size), where a size stands for so many random bytes; a tar if `level` is None."""
    raw, rng = io.BytesIO(), random.Random(0)
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members:
            data = rng.randbytes(data) if isinstance(data, int) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        size = archive.offset
    content = raw.getvalue() if end else raw.getvalue()[:size]
    return gzip.compress(content, level, mtime=0) if level is not None else content


def header(name, **values):
    """The 512 bytes of one tar header."""
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


# Reading a tar


@pytest.fixture
def names_in(tmp_path):
    """Reads an archive given as bytes; returns the names of its members."""

    def read(data):
        path = tmp_path / "archive"
        path.write_bytes(data)
        return [member.name for member, _ in read_tar(path)]

    return read


@pytest.mark.parametrize("cut", [20, 700, 5000, 6656, 7168, 13_312])
@pytest.mark.parametrize("level", [None, 6])
def test_tar_cut_anywhere_is_truncated(names_in, cut, level):
    raw = tar(("a.mp4", 6000), ("b.mp4", 6000), level=None)
    with pytest.raises(ClipError) as caught:
        names_in(raw[:cut] if level is None else gzip.compress(raw[:cut], level))
    assert caught.value.code is Failure.TRUNCATED


@pytest.mark.parametrize("cut", [5, 12, 30_000, -8, -1])
def test_gzip_cut_anywhere_is_truncated(names_in, cut):
    with pytest.raises(ClipError) as caught:
        names_in(tar(("a.mp4", 60_000))[:cut])
    assert caught.value.code is Failure.TRUNCATED


@pytest.mark.parametrize("position", [2, 20_000, -6, -2])
def test_changed_byte_in_a_gzip_is_a_checksum_mismatch(names_in, position):
    data = bytearray(tar(("a.mp4", 60_000)))
    data[position] ^= 0xFF
    with pytest.raises(ClipError) as caught:
        names_in(bytes(data))
    assert caught.value.code is Failure.CHECKSUM_MISMATCH


def test_damaged_header_is_not_the_end_of_the_archive(names_in):
    data = bytearray(tar(("a.mp4", 1000), ("b.mp4", 1000), ("c.mp4", 1000), level=None))
    data[1536 + 5] ^= 0xFF
    with pytest.raises(ClipError, match="a header is damaged"):
        names_in(bytes(data))


def test_only_regular_files_are_members(names_in):
    skipped = (
        header("l.mp4", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        header("h.mp4", type=tarfile.LNKTYPE, linkname="a.mp4"),
        header("d.mp4", type=tarfile.CHRTYPE),
        header("f.mp4", type=tarfile.DIRTYPE),
    )
    assert names_in(b"".join(skipped) + tar(("a.mp4", 10), level=None)) == ["a.mp4"]


def test_several_gzip_members_and_padding_are_one_archive(names_in):
    raw = tar(("a.mp4", 6000), ("b.mp4", 6000), level=None)
    assert names_in(gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]) + bytes(512)) == ["a.mp4", "b.mp4"]


def test_extended_header_of_a_gigabyte_takes_no_memory(names_in):
    bomb = gzip.compress(header("x", type=tarfile.XHDTYPE, size=1 << 30) + bytes(64 << 20), 9)
    tracemalloc.start()
    with pytest.raises(ClipError, match=r"too_large.*a header of 1,073,741,824 bytes: the limit is 1 MB"):
        names_in(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_number_of_members_is_bounded(names_in, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_COUNT_LIMIT", 10)
    assert len(names_in(tar(*((f"{n}.mp4", 1) for n in range(10))))) == 10
    with pytest.raises(ClipError, match="too_large: the archive has more than 10 members"):
        names_in(tar(*((f"{n}.mp4", 1) for n in range(11))))


@pytest.mark.parametrize("place", ["in a member", "after the end mark"])
def test_unpacked_size_is_bounded(names_in, monkeypatch, place):
    monkeypatch.setattr("pipeline.fetch.archives.ARCHIVE_LIMIT", 1 << 30)
    megabytes = 1100
    start = header("a.mp4", size=megabytes << 20) if place == "in a member" else bytes(1024)
    bomb = gzip.compress(start, 9) + gzip.compress(bytes(1 << 20), 9) * megabytes
    with pytest.raises(ClipError, match="too_large: the archive unpacks to more than 1 GB"):
        names_in(bomb)


@pytest.mark.parametrize(
    "extended",
    [b"30 size=notanumberatallhere!!\n", b"9999999 path=x\n", b"15 hdrcharset=\xff\n", b"\xff" * 100, b"0 =\n"],
)
def test_invalid_extended_header_is_ignored_or_typed(names_in, extended):
    invalid = header("x", type=tarfile.XHDTYPE, size=len(extended)) + extended.ljust(512, b"\0")
    with contextlib.suppress(ClipError):
        assert len(names_in(invalid + tar(("a.mp4", 10), level=None))) == 1


# One hosted archive


@pytest.fixture
def host():
    with serving() as host:
        host.files = {
            PATH: tar(("a.mp4", 200_000), ("b.mp4", 200_000), ("c.mp4", 200_000)),
            NEXT_PATH: tar(("n.mp4", 9)),
        }
        yield host


@pytest.fixture
def raw(tmp_path):
    """The folder of the clips; spool files and member lists are in `parts` below it."""
    return tmp_path / "raw"


def hosts(address, *, disk=None):
    retry = RetryPolicy(attempts=1, timeout_s=2.0, sleep=lambda seconds: None)
    return Hosts(SITES, address, retry, disk or Disk(REPO / "no such folder", None))


def archive(host, raw, *, url=URL, disk=None):
    return TarArchive(hosts(host.url, disk=disk), url, raw / "parts")


def every_member(raw):
    """A filter factory that selects every member."""
    return lambda: lambda name: raw / name


def clips(raw):
    return sorted(path.name for path in raw.glob("*.mp4"))


def spooled(raw):
    return sorted(path.name for path in (raw / "parts").glob("*") if path.name != "train-a.tar.gz.json")


def downloads(host, path=PATH):
    return [span for requested, span in host.requests if requested == path]


def test_selected_members_are_written_and_the_spool_file_is_deleted(host, raw):
    part = archive(host, raw)
    part.extract(lambda: lambda name: raw / name if name != "b.mp4" else None)
    assert clips(raw) == ["a.mp4", "c.mp4"]
    assert part.names == ["a.mp4", "b.mp4", "c.mp4"]
    assert part.complete
    assert spooled(raw) == []


def test_complete_archive_is_known_in_the_next_run(host, raw):
    archive(host, raw).extract(every_member(raw))
    host.requests.clear()
    part = archive(host, raw)
    part.prefetch()
    assert part.complete
    assert part.names == ["a.mp4", "b.mp4", "c.mp4"]
    assert host.requests == []


def test_existing_files_are_not_written_again(host, raw):
    raw.mkdir()
    (raw / "b.mp4").write_bytes(b"mine")
    archive(host, raw).extract(every_member(raw))
    assert (raw / "b.mp4").read_bytes() == b"mine"
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]


def test_oversized_member_is_rejected_and_the_others_are_written(host, raw, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_LIMIT", 1 << 20)
    host.files[PATH] = tar(("bomb.mp4", 2_000_000), ("skipped", 2_000_000), ("fine.mp4", 500))
    archive(host, raw).extract(lambda: lambda name: raw / name if name.endswith(".mp4") else None)
    assert clips(raw) == ["fine.mp4"]
    assert archive(host, raw).rejected == {"bomb.mp4": "bomb.mp4 has 2,000,000 bytes: the limit for one clip is 1 MB"}


def test_archive_of_a_local_mirror_is_read_in_place(host, raw, tmp_path):
    path = tmp_path / "mirror/data/train/a.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(host.files[PATH])
    part = TarArchive(hosts(str(tmp_path / "mirror")), URL, raw / "parts")
    part.prefetch()
    assert not raw.exists()
    part.extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]
    assert spooled(raw) == []
    part.discard()
    assert path.read_bytes() == host.files[PATH]


def test_truncated_archive_keeps_the_members_before_the_damage(host, raw):
    whole = host.files[PATH]
    host.files[PATH] = whole[:450_000]
    part = archive(host, raw)
    with pytest.raises(ClipError, match="truncated"):
        part.extract(every_member(raw))
    assert part.names == clips(raw) == ["a.mp4", "b.mp4"]
    assert not part.complete
    assert spooled(raw) == []
    host.files[PATH] = whole
    archive(host, raw).extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]


def test_checksum_mismatch_keeps_nothing_that_was_written(host, raw):
    raw.mkdir()
    (raw / "b.mp4").write_bytes(b"of an earlier run")
    host.files[PATH] = host.files[PATH][:-5] + b"wrong"
    with pytest.raises(ClipError, match="checksum_mismatch"):
        archive(host, raw).extract(every_member(raw))
    assert clips(raw) == ["b.mp4"]
    assert spooled(raw) == []


def test_damaged_spool_file_of_an_earlier_run_is_downloaded_again(host, raw):
    (raw / "parts").mkdir(parents=True)
    (raw / "parts/train-a.tar.gz").write_bytes(host.files[PATH][:-5] + b"wrong")
    archive(host, raw).extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]
    assert downloads(host) == [None]


def test_broken_connection_keeps_what_has_come_and_the_next_run_resumes(host, raw):
    host.trouble(PATH, Trouble(end=450_000))
    part = archive(host, raw)
    with pytest.raises(ClipError, match="truncated"):
        part.extract(every_member(raw))
    assert part.names == clips(raw) == ["a.mp4", "b.mp4"]
    archive(host, raw).extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]
    assert downloads(host) == [None, "bytes=450000-"]


def test_failed_rereading_keeps_the_list_of_a_complete_archive(host, raw):
    archive(host, raw).extract(every_member(raw))
    (raw / "a.mp4").unlink()
    host.trouble(PATH, Trouble(status=500))
    part = archive(host, raw)
    with pytest.raises(ClipError, match="connection"):
        part.extract(every_member(raw))
    assert part.names == ["a.mp4", "b.mp4", "c.mp4"]


# The next archive in the background


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_next_archive_downloads_while_this_one_is_read(host, raw):
    following = archive(host, raw, url=NEXT_URL)

    def select(name):
        wait_until((raw / "parts/train-b.tar.gz").exists)  # would time out without a second thread
        return raw / name

    following.prefetch()
    archive(host, raw).extract(lambda: select)
    following.extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4", "n.mp4"]
    assert downloads(host, NEXT_PATH) == [None]


def test_error_of_a_prefetch_is_raised_by_extract(host, raw):
    host.trouble(PATH, Trouble(status=404))
    part = archive(host, raw)
    part.prefetch()
    with pytest.raises(ClipError, match="not_found"):
        part.extract(every_member(raw))
    part.extract(every_member(raw))
    assert part.complete


def test_discard_stops_a_prefetch_and_deletes_its_bytes(host, raw):
    host.always = Trouble(drip=(10_000, 0.05))
    part = archive(host, raw)
    part.prefetch()
    wait_until(lambda: any(path.stat().st_size for path in raw.glob("parts/.resume-*.gz")))
    part.discard()
    sent = host.sent
    assert spooled(raw) == []
    time.sleep(0.3)
    assert host.sent <= sent + 20_000
    assert spooled(raw) == []


def test_spool_files_of_interrupted_runs_can_be_removed(host, raw):
    archive(host, raw).extract(every_member(raw))
    host.trouble(NEXT_PATH, Trouble(after=50))
    with pytest.raises(ClipError):
        archive(host, raw, url=NEXT_URL).extract(every_member(raw))
    assert spooled(raw) == [".resume-train-b.tar.gz", ".resume-train-b.tar.gz.json"]
    remove_spools(raw / "parts", Disk(raw, None))
    assert spooled(raw) == []
    assert archive(host, raw).complete


def test_spool_files_count_against_the_disk_budget_until_they_are_deleted(host, raw):
    host.files[NEXT_PATH] = host.files[PATH]
    disk = Disk(raw, 0.0011)  # one archive of 0.6 MB with its clip of 0.2 MB, not two archives
    following = archive(host, raw, url=NEXT_URL, disk=disk)

    def select(name):
        if name == "b.mp4":
            following.prefetch()
            wait_until(lambda: downloads(host, NEXT_PATH))
            time.sleep(0.2)  # until the thread has found no room
        return raw / name if name == "a.mp4" else None

    archive(host, raw, disk=disk).extract(lambda: select)
    assert spooled(raw) == []
    following.extract(lambda: lambda name: None)
    assert downloads(host, NEXT_PATH) == [None, None]
    with pytest.raises(WorkError, match=r"train-a\.tar\.gz needs 0\.60 MB: 0\.21 MB of download\.disk_gb, 0\.0007"):
        archive(host, raw, disk=Disk(raw, 0.0007)).extract(every_member(raw))


# Killed processes

SCRIPT = """
import sys, time
from pathlib import Path
from pipeline.fetch.archives import TarArchive
from pipeline.fetch.hosts import Hosts, Site

address, raw, pause_s, *urls = sys.argv[1:]
hosts = Hosts((Site("https://data.example/", "data"),), address)
archives = [TarArchive(hosts, url, Path(raw) / "parts") for url in urls]

def select(name):
    time.sleep(float(pause_s))
    return Path(raw) / name

for archive, following in zip(archives, [*archives[1:], None]):
    if not archive.complete:
        if following is not None:
            following.prefetch()
        archive.extract(lambda: select)
"""


def start_extraction(host, raw, *urls, pause_s=0.0):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, host.url, raw, str(pause_s), *urls], cwd=REPO)


def kill_when(process, condition):
    """Kill the process as soon as the condition holds; False if it ends by itself before."""
    while process.poll() is None and not condition():
        time.sleep(0.005)
    process.kill()
    process.wait()
    return process.returncode == -9


def test_kill_while_members_are_written_costs_no_bytes(host, raw):
    process = start_extraction(host, raw, URL, pause_s=0.5)
    assert kill_when(process, lambda: clips(raw) == ["a.mp4"])
    assert start_extraction(host, raw, URL).wait(60) == 0
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]
    assert downloads(host) == [None]
    assert spooled(raw) == []


def test_download_killed_again_and_again_fetches_hardly_a_byte_twice(host, raw):
    host.files = {path: tar(*((f"{path[-8]}{n}.mp4", 1 << 20) for n in range(6))) for path in (PATH, NEXT_PATH)}
    total = sum(len(data) for data in host.files.values())
    host.always = Trouble(drip=(1 << 15, 0.008))  # 4 MB/s
    for kills in range(50):  # noqa: B007
        enough = host.sent + (1 << 20)
        if not kill_when(start_extraction(host, raw, URL, NEXT_URL), lambda enough=enough: host.sent > enough):
            break
    assert kills >= 8
    assert clips(raw) == sorted(f"{letter}{n}.mp4" for letter in "ab" for n in range(6))
    assert all(path.stat().st_size == 1 << 20 for path in raw.glob("*.mp4"))
    print(f"{kills} kills, {host.sent / total:.3f} times the bytes of the archives")
    assert host.sent <= 1.2 * total


# Zip members


def test_oversized_zip_member_is_too_large(here, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_LIMIT", 1 << 20)
    with zipfile.ZipFile(here / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mp4", bytes(50_000_000))
    with zipfile.ZipFile(here / "a.zip") as archive, pytest.raises(ClipError) as caught:
        extract_zip_member(archive, "bomb.mp4", here / "out.mp4", Disk(here, None))
    assert str(caught.value) == "too_large: bomb.mp4 has 50,000,000 bytes: the limit for one clip is 1 MB"
    assert not (here / "out.mp4").exists()


def test_zip_member_with_a_false_size_is_truncated_and_leaves_nothing(here):
    with zipfile.ZipFile(here / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mp4", bytes(5_000_000))
    data = (here / "a.zip").read_bytes()
    (here / "a.zip").write_bytes(data.replace((5_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with zipfile.ZipFile(here / "a.zip") as archive, pytest.raises(ClipError, match="truncated"):
        extract_zip_member(archive, "bomb.mp4", here / "out.mp4", Disk(here, None))
    assert list(here.iterdir()) == [here / "a.zip"]
