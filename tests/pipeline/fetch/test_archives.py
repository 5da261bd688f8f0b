"""Archives from the internet: selected members are written, damage is typed, and a killed run resumes."""

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
from pipeline.fetch.archives import TarArchive, extract_zip_member, remove_spools
from pipeline.fetch.disk import Disk
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.http import TAIL, RetryPolicy
from pipeline.fetch.site import Site
from pipeline.fetch.tars import read_tar
from pipeline.records.failures import ClipError
from tests.conftest import REPO
from tests.pipeline.host import Fault, serving


def tar(*members):
    """A tar of (name, bytes or size), where a size stands for so many random bytes."""
    raw, rng = io.BytesIO(), random.Random(0)
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members:
            data = rng.randbytes(data) if isinstance(data, int) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def header(name, **values):
    """The 512 bytes of one tar header."""
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


# Reading a tar


@pytest.fixture
def names_in(tmp_path):
    """A function that reads an archive given as bytes and returns the names of its members."""

    def read(data):
        path = tmp_path / "archive"
        path.write_bytes(data)
        return [member.name for member, _ in read_tar(path)]

    return read


def invert(data, position):
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def pax(records, kind=tarfile.XHDTYPE):
    return header("x", type=kind, size=len(records)) + records + bytes(-len(records) % 512)


def sparse_chain(links):
    """A sparse member in the old GNU format whose map has `links` more blocks."""
    first = bytearray(header("a.mp4", type=tarfile.GNUTYPE_SPARSE))
    first[482] = 1
    first[148:156] = b"%06o\0 " % (sum(first[:148]) + 8 * 32 + sum(first[156:]))
    return bytes(first) + links * (bytes(504) + b"\1" + bytes(7))


def endless_sparse_map(numbers):
    """A sparse member in format 1.0, whose map is in its data."""
    fields = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    return pax(fields) + header("a.mp4", size=2 * numbers) + b"%d\n" % numbers + b"1\n" * numbers


def global_fields(number):
    """A header of 200 fields that hold for all members after it, and a member."""
    return pax(b"".join(b"8 %d%03d=\n" % (number, n) for n in range(200)), tarfile.XGLTYPE) + header("README")


TWO = tar(("a.mp4", 6000), ("b.mp4", 6000))
DAMAGED = {
    **{f"tar cut at {cut}": (TWO[:cut], "truncated") for cut in (20, 700, 5000, 6656, 7168, 13_312)},
    **{f"gzip of a tar cut at {cut}": (gzip.compress(TWO[:cut]), "truncated") for cut in (20, 6656, 13_312)},
    **{f"gzip cut at {cut}": (gzip.compress(TWO)[:cut], "truncated") for cut in (5, 12, 9000, -8, -1)},
    **{f"gzip changed at {at}": (invert(gzip.compress(TWO), at), "checksum_mismatch") for at in (2, 9000, -6)},
    "damaged header": (invert(TWO, 6656 + 5), "truncated: .* a header is damaged"),
    "chain of 3,000 long names": (3000 * (header("x", type=tarfile.GNUTYPE_LONGNAME) + TWO[512:1024]), "truncated"),
    "a member of 60 GB": (header("a.mp4", size=60 << 30) + bytes(5000), "truncated"),
    "a member of 100 GB": (header("a.mp4", size=100 << 30) + bytes(5000), "too_large: .* more than 64 GB"),
    "a member of 8 EB": (header("a.mp4", size=1 << 63) + bytes(5000), "too_large: .* more than 64 GB"),
    "a member of -512 bytes": (header("a.mp4", size=-512) + TWO, "truncated: .* a header has the size -512"),
    "a long name of -512 bytes": (header("x", type=b"L", size=-512) + TWO, "truncated: .* a header has the size -512"),
    "lone zero block": (TWO[:6656] + bytes(512) + TWO[6656:], "truncated: .* data follows its end mark"),
    "two archives": (TWO + TWO, "truncated: .* data follows its end mark"),
    "a chain of sparse maps": (sparse_chain(2000), "too_large: .* more than 64 kB of headers"),
    "a sparse map cut short": (sparse_chain(5)[:1030], "truncated"),
    "a sparse map of 1,000,000 numbers": (endless_sparse_map(1_000_000), "too_large: .* more than 64 kB of headers"),
    "more fields for all members": (b"".join(map(global_fields, range(9))) + TWO, "too_large: .* 1,000 fields"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_archive_is_a_typed_error(names_in, damage):
    data, error = DAMAGED[damage]
    with pytest.raises(ClipError, match=error):
        names_in(data)


def test_only_regular_files_are_members(names_in):
    skipped = (
        header("l.mp4", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        header("h.mp4", type=tarfile.LNKTYPE, linkname="a.mp4"),
        header("d.mp4", type=tarfile.CHRTYPE),
        header("f.mp4", type=tarfile.DIRTYPE),
    )
    assert names_in(b"".join(skipped) + TWO) == ["a.mp4", "b.mp4"]


def test_several_gzip_members_with_padding_are_one_archive(names_in):
    assert names_in(gzip.compress(TWO[:5000]) + gzip.compress(TWO[5000:]) + bytes(512)) == ["a.mp4", "b.mp4"]


def test_extended_header_of_a_gigabyte_takes_no_memory(names_in):
    bomb = gzip.compress(header("x", type=tarfile.XHDTYPE, size=1 << 30) + bytes(64 << 20), 9)
    tracemalloc.start()
    with pytest.raises(ClipError, match=r"too_large: .* a header of 1,073,741,824 bytes: the limit is 64 kB"):
        names_in(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_number_of_members_is_bounded(names_in, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.tars.MEMBER_COUNT_LIMIT", 10)
    assert len(names_in(tar(*((f"{n}.mp4", 1) for n in range(10))))) == 10
    with pytest.raises(ClipError, match="too_large: the archive has more than 10 members"):
        names_in(tar(*((f"{n}.mp4", 1) for n in range(11))))


def test_unpacked_size_is_bounded(names_in, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.tars.ARCHIVE_LIMIT", 2 << 20)
    with pytest.raises(ClipError, match="too_large: the archive unpacks to more than"):
        names_in(gzip.compress(header("a.mp4", size=4 << 20) + bytes(4 << 20)))


EMPTY = gzip.compress(b"")
OVERHEAD = {
    "name": b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * (2 << 20),
    "comment": b"\x1f\x8b\x08\x10" + bytes(6) + b"a" * (2 << 20),
    "extra fields": (b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff" + bytes(65535) + EMPTY[10:]) * 20,
    "empty members": EMPTY * 100_000,
    "members of one byte": gzip.compress(TWO) + gzip.compress(b"\0") * 100_000,
    "empty blocks": b"\x1f\x8b\x08\x00" + bytes(6) + b"\0\0\0\xff\xff" * 400_000,
    "zeros after it": gzip.compress(TWO) + bytes(2 << 20),
}


@pytest.mark.parametrize("overhead", OVERHEAD)
def test_gzip_bytes_without_content_are_bounded(names_in, overhead):
    with pytest.raises(ClipError, match="too_large: more than 1 MB of the archive unpack to nothing"):
        names_in(OVERHEAD[overhead])


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["tar", "tar.gz"])
def test_zeros_after_the_end_mark_are_bounded(names_in, compress):
    assert names_in(compress(TWO + bytes(1 << 20))) == ["a.mp4", "b.mp4"]
    with pytest.raises(ClipError, match="too_large: the archive has more than 1 MB after its end mark"):
        names_in(compress(TWO + bytes(3 << 20)))


def test_archive_does_not_unpack_to_more_than_100_times_its_size(names_in):
    zeros = tar(("a.mp4", bytes(60 << 20)))
    assert names_in(zeros) == ["a.mp4"]
    with pytest.raises(ClipError, match="too_large: the archive unpacks to more than 100 times its size"):
        names_in(gzip.compress(zeros, 9))


def test_member_with_a_name_of_300_characters_is_skipped(names_in):
    assert names_in(tar(("a" * 300, 9), ("a" * 255, 9))) == ["a" * 255]


@pytest.mark.parametrize(
    "extended",
    [b"30 size=notanumberatallhere!!\n", b"9999999 path=x\n", b"15 hdrcharset=\xff\n", b"\xff" * 100, b"0 =\n"],
)
def test_invalid_extended_header_is_ignored_or_typed(names_in, extended):
    invalid = header("x", type=tarfile.XHDTYPE, size=len(extended)) + extended.ljust(512, b"\0")
    with contextlib.suppress(ClipError):
        assert names_in(invalid + TWO)[-1] == "b.mp4"


# One hosted archive

SITES = (Site("https://data.example/", "data"),)
URL, NEXT_URL = "https://data.example/train/a.tar.gz", "https://data.example/train/b.tar.gz"
PATH, NEXT_PATH = "/data/train/a.tar.gz", "/data/train/b.tar.gz"
THREE = gzip.compress(tar(("a.mp4", 200_000), ("b.mp4", 200_000), ("c.mp4", 200_000)), 1)


@pytest.fixture
def host():
    with serving() as host:
        host.files = {PATH: THREE, NEXT_PATH: gzip.compress(tar(("n.mp4", 9)))}
        yield host


@pytest.fixture
def raw(tmp_path):
    """The folder of the clips; spool files and member lists are in `parts` below it."""
    return tmp_path / "raw"


def archive(address, raw, *, url=URL, disk=None):
    retry = RetryPolicy(attempts=1, timeout_s=2.0, sleep=lambda seconds: None)
    return TarArchive(Hosts(SITES, address, retry, disk or Disk(raw, None)), url, raw / "parts")


def every_member(raw):
    """A filter factory that selects every member."""
    return lambda: lambda name: raw / name


def clips(raw):
    return sorted(path.name for path in raw.glob("*.mp4"))


def spool_files(raw):
    return sorted(path.name for path in (raw / "parts").glob("*") if path.name != "train-a.tar.gz.json")


def downloads(host, path=PATH):
    """The Range of each request for an archive."""
    return [span for requested, span in host.requests if requested == path]


def test_selected_members_are_written_and_the_archive_is_complete(host, raw):
    raw.mkdir()
    (raw / "c.mp4").write_bytes(b"of an earlier run")
    archive(host.url, raw).extract(lambda: lambda name: raw / name if name != "b.mp4" else None)
    assert clips(raw) == ["a.mp4", "c.mp4"]
    assert (raw / "a.mp4").stat().st_size == 200_000
    assert (raw / "c.mp4").read_bytes() == b"of an earlier run"
    assert spool_files(raw) == []
    host.requests.clear()
    again = archive(host.url, raw)
    again.prefetch()
    assert again.complete
    assert again.names == ["a.mp4", "b.mp4", "c.mp4"]
    assert host.requests == []


def test_oversized_member_is_rejected_and_the_others_are_written(host, raw, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_LIMIT", 1 << 20)
    host.files[PATH] = tar(("bomb.mp4", 2_000_000), ("skipped", 2_000_000), ("fine.mp4", 500))
    archive(host.url, raw).extract(lambda: lambda name: raw / name if name.endswith(".mp4") else None)
    assert clips(raw) == ["fine.mp4"]
    reason = "bomb.mp4 has 2,000,000 bytes: the limit for one clip is 1 MB"
    assert archive(host.url, raw).rejected == {"bomb.mp4": reason}


def test_archive_of_a_local_mirror_is_read_in_place(raw, tmp_path):
    path = tmp_path / "mirror/data/train/a.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(THREE)
    part = archive(str(tmp_path / "mirror"), raw)
    part.prefetch()
    assert not raw.exists()
    part.extract(every_member(raw))
    part.discard()
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]
    assert spool_files(raw) == []
    assert path.read_bytes() == THREE


def test_sparse_member_is_rejected_before_it_is_written(host, raw):
    fields = b"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n29 GNU.sparse.size=200000000\n22 GNU.sparse.map=0,9\n"
    host.files[PATH] = pax(fields) + header("s.mp4", size=9) + bytes(512) + TWO
    archive(host.url, raw).extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4"]
    assert archive(host.url, raw).rejected == {"s.mp4": "s.mp4 is a sparse file of 200,000,000 bytes"}


def test_member_name_that_is_not_utf8_is_listed_with_question_marks(host, raw):
    host.files[PATH] = tar(("\udcff.mp4", 9), ("a.mp4", 9))
    archive(host.url, raw).extract(lambda: lambda name: raw / name if name == "a.mp4" else None)
    assert archive(host.url, raw).names == ["?.mp4", "a.mp4"]


def test_damaged_header_in_damaged_compressed_data_keeps_nothing(host, raw):
    data = gzip.compress(invert(TWO, 6656 + 5), 0)
    host.files[PATH] = invert(data, 3000)
    with pytest.raises(ClipError, match="checksum_mismatch"):
        archive(host.url, raw).extract(every_member(raw))
    assert clips(raw) == []


@pytest.mark.parametrize("fault", [Fault(end=450_000), Fault(replace=THREE[:450_000])], ids=["download", "archive"])
def test_members_before_a_truncation_are_kept_and_the_next_run_completes(host, raw, fault):
    host.queue_faults(PATH, fault)
    part = archive(host.url, raw)
    with pytest.raises(ClipError, match="truncated"):
        part.extract(every_member(raw))
    assert part.names == clips(raw) == ["a.mp4", "b.mp4"]
    assert not part.complete
    host.files[PATH] = THREE
    archive(host.url, raw).extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]
    assert downloads(host) == [None, f"bytes={450_000 - TAIL}-" if fault.end else None]


def test_checksum_mismatch_keeps_nothing_that_was_written(host, raw):
    raw.mkdir()
    (raw / "b.mp4").write_bytes(b"of an earlier run")
    host.files[PATH] = invert(THREE, -5)
    with pytest.raises(ClipError, match="checksum_mismatch"):
        archive(host.url, raw).extract(every_member(raw))
    assert clips(raw) == ["b.mp4"]
    assert spool_files(raw) == []


def test_damaged_spool_file_of_an_earlier_run_is_downloaded_again(host, raw):
    (raw / "parts").mkdir(parents=True)
    (raw / "parts/train-a.tar.gz").write_bytes(invert(THREE, -5))
    archive(host.url, raw).extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]
    assert downloads(host) == [None]


def test_failed_second_reading_keeps_the_member_list_of_the_first(host, raw):
    archive(host.url, raw).extract(every_member(raw))
    host.queue_faults(PATH, Fault(end=450_000))
    part = archive(host.url, raw)
    with pytest.raises(ClipError, match="truncated"):
        part.extract(every_member(raw))
    assert part.names == ["a.mp4", "b.mp4", "c.mp4"]


# Prefetch


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_next_archive_is_downloaded_while_this_one_is_read(host, raw):
    following = archive(host.url, raw, url=NEXT_URL)

    def select(name):
        wait_until((raw / "parts/train-b.tar.gz").exists)  # never true without a second thread
        return raw / name

    following.prefetch()
    archive(host.url, raw).extract(lambda: select)
    following.extract(every_member(raw))
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4", "n.mp4"]
    assert downloads(host, NEXT_PATH) == [None]


def test_error_of_a_prefetch_is_raised_by_extract(host, raw):
    host.queue_faults(PATH, Fault(status=404))
    part = archive(host.url, raw)
    part.prefetch()
    with pytest.raises(ClipError, match="not_found"):
        part.extract(every_member(raw))
    part.extract(every_member(raw))
    assert part.complete


def test_discard_stops_a_prefetch_and_deletes_its_bytes(host, raw):
    host.always = Fault(drip=(10_000, 0.05))
    part = archive(host.url, raw)
    part.prefetch()
    wait_until(lambda: any(path.stat().st_size for path in raw.glob("parts/.resume-*.gz")))
    part.discard()
    sent = host.sent
    time.sleep(0.3)
    assert host.sent <= sent + 20_000
    assert spool_files(raw) == []


def test_spool_files_of_interrupted_runs_can_be_removed(host, raw):
    archive(host.url, raw).extract(every_member(raw))
    host.queue_faults(NEXT_PATH, Fault(end=50))
    with pytest.raises(ClipError):
        archive(host.url, raw, url=NEXT_URL).extract(every_member(raw))
    assert spool_files(raw) == [".resume-train-b.tar.gz", ".resume-train-b.tar.gz.json"]
    remove_spools(raw / "parts", Disk(raw, None))
    assert spool_files(raw) == []
    assert archive(host.url, raw).complete


def test_spool_files_count_against_the_disk_budget_until_they_are_deleted(host, raw):
    host.files[NEXT_PATH] = THREE
    disk = Disk(raw, 0.0011)  # one archive of 0.6 MB with its clip of 0.2 MB, not two archives
    following = archive(host.url, raw, url=NEXT_URL, disk=disk)

    def select(name):
        if name == "b.mp4":
            following.prefetch()
            wait_until(lambda: downloads(host, NEXT_PATH))
            time.sleep(0.2)  # until the thread has failed for lack of space
        return raw / name if name == "a.mp4" else None

    archive(host.url, raw, disk=disk).extract(lambda: select)
    following.extract(lambda: lambda name: None)
    assert downloads(host, NEXT_PATH) == [None, None]
    with pytest.raises(WorkError, match=r"train-a\.tar\.gz needs 0\.60 MB: 0\.21 MB of download\.disk_gb, 0\.0007"):
        archive(host.url, raw, disk=Disk(raw, 0.0007)).extract(every_member(raw))


# Killed processes

SCRIPT = """
import sys, time
from pathlib import Path
from pipeline.fetch.archives import TarArchive
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.site import Site

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
    """Kill the process as soon as the condition holds; False if it has ended before."""
    while process.poll() is None and not condition():
        time.sleep(0.005)
    process.kill()
    return process.wait() == -9


def test_kill_while_members_are_written_costs_no_bytes(host, raw):
    assert kill_when(start_extraction(host, raw, URL, pause_s=0.5), lambda: clips(raw) == ["a.mp4"])
    assert start_extraction(host, raw, URL).wait(60) == 0
    assert clips(raw) == ["a.mp4", "b.mp4", "c.mp4"]
    assert downloads(host) == [None]


def test_downloads_killed_after_every_megabyte_fetch_at_most_1_2_times_the_bytes(host, raw):
    members = {path: [(f"{path[-8]}{n}.mp4", 1 << 20) for n in range(6)] for path in (PATH, NEXT_PATH)}
    host.files = {path: gzip.compress(tar(*members[path]), 1) for path in members}
    total = sum(len(data) for data in host.files.values())
    host.always = Fault(drip=(1 << 15, 0.008))  # 4 MB/s
    for kills in range(30):  # noqa: B007
        goal = host.sent + (1 << 20)
        if not kill_when(start_extraction(host, raw, URL, NEXT_URL), lambda goal=goal: host.sent > goal):
            break
    assert kills >= 8
    assert clips(raw) == sorted(name for path in members for name, _ in members[path])
    assert {path.stat().st_size for path in raw.glob("*.mp4")} == {1 << 20}
    assert host.sent <= 1.2 * total, f"{kills} kills, {host.sent / total:.3f} times the bytes"


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


def test_damaged_zip_member_returns_its_bytes_to_the_disk_budget(here):
    with zipfile.ZipFile(here / "a.zip", "w") as archive:
        archive.writestr("a.mp4", bytes(600_000))
        archive.writestr("b.mp4", bytes(600_000))
    (here / "a.zip").write_bytes((here / "a.zip").read_bytes().replace(bytes(600_000), bytes(599_999) + b"1", 1))
    disk = Disk(here / "clips", 0.001)
    with zipfile.ZipFile(here / "a.zip") as archive:
        with pytest.raises(ClipError, match="truncated"):
            extract_zip_member(archive, "a.mp4", here / "clips/a.mp4", disk)
        extract_zip_member(archive, "b.mp4", here / "clips/b.mp4", disk)


def test_incomplete_tar_member_returns_its_bytes_to_the_disk_budget(host, raw):
    host.files[PATH] = tar(("a.mp4", 600_000))[:300_000]
    disk = Disk(raw, 0.0011)  # the spool file of 0.3 MB and one clip of 0.6 MB
    with pytest.raises(ClipError, match="truncated"):
        archive(host.url, raw, disk=disk).extract(every_member(raw))
    disk.reserve(600_000, "b.mp4")
