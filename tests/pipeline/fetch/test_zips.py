"""Zip files with false sizes, unknown methods and other damage: bounded, and every error typed."""

import contextlib
import random
import tracemalloc
import zipfile

import pytest

from common.errors import WorkError
from pipeline.fetch.archives import extract_zip_member
from pipeline.fetch.disk import Disk
from pipeline.fetch.zips import open_zip, read_member
from pipeline.records.failures import ClipError

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
CONTENT = random.Random(0).randbytes(2000) + bytes(2000)


def write_zip(path, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.mp4", CONTENT)
        archive.writestr("b\u00e9.mp4", CONTENT[::-1])
    return path


@pytest.mark.parametrize("method", METHODS)
def test_members_are_read(here, method):
    with open_zip(write_zip(here / "a.zip", method)) as archive:
        assert read_member(archive, archive.getinfo("a.mp4"), 4000) == CONTENT
        with pytest.raises(ClipError, match=r"too_large: a\.mp4 unpacks to 4,000 bytes: the limit is 3,999"):
            read_member(archive, archive.getinfo("a.mp4"), 3999)
        extract_zip_member(archive, "b\u00e9.mp4", here / "out.mp4", Disk(here, None))
    assert (here / "out.mp4").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("method", METHODS)
def test_damaged_zip_is_typed_or_unharmed(here, method):
    """Bytes changed, removed or repeated anywhere: a WorkError, a ClipError per member, or the true content."""
    original, rng, path = write_zip(here / "a.zip", method).read_bytes(), random.Random(method), here / "b.zip"
    opened = 0
    for _ in range(150):
        data = bytearray(original)
        for _ in range(rng.choice((1, 1, 2, 8))):
            # The last bytes have the headers, which are a small part of the file.
            at = rng.randrange(len(data)) if rng.random() < 0.4 else rng.randrange(len(data) - 200, len(data))
            change = rng.randrange(4)
            if change < 2:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 1 << rng.randrange(8)))
            elif change == 2:
                del data[at : at + rng.choice((1, 4, 50))]
            else:
                data[at:at] = data[at : at + rng.choice((1, 4, 50))]
        path.write_bytes(data)
        with contextlib.suppress(WorkError), open_zip(path) as archive:
            opened += 1
            for info in archive.infolist():
                with contextlib.suppress(ClipError):
                    assert read_member(archive, info, 10_000) in (CONTENT, CONTENT[::-1], b"")
                with contextlib.suppress(ClipError):
                    extract_zip_member(archive, info.filename, here / "out.mp4", Disk(here, None))
    assert 15 < opened < 150
    assert {path.name for path in here.iterdir()} <= {"a.zip", "b.zip", "out.mp4"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_bounded_blocks_are_not_unpacked(here, method):
    """256 kB of bz2 can be 5 GB of zeros, which `zipfile` unpacks at once."""
    message = f"truncated: the member a.mp4 is damaged: compression method {method}"
    with open_zip(write_zip(here / "a.zip", method)) as archive, pytest.raises(ClipError, match=message):
        read_member(archive, archive.getinfo("a.mp4"), 4000)


def test_member_that_unpacks_to_more_than_100_times_its_size_is_not_written(here):
    with zipfile.ZipFile(here / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mp4", bytes(50_000_000))
    with open_zip(here / "a.zip") as archive, pytest.raises(ClipError, match=r"too_large: bomb\.mp4 unpacks from 48,"):
        extract_zip_member(archive, "bomb.mp4", here / "out.mp4", Disk(here, None))
    assert not (here / "out.mp4").exists()


def test_members_that_overlap_are_refused(here):
    data = bytearray(write_zip(here / "a.zip").read_bytes())
    first = data.index(b"PK\1\2")
    data[first + 20 : first + 24] = len(data).to_bytes(4, "little")  # packed size in the central directory
    (here / "a.zip").write_bytes(data)
    with pytest.raises(WorkError, match=r"is not a zip file .*'a\.mp4' overlaps"), open_zip(here / "a.zip"):
        pass


def test_central_directory_of_millions_of_entries_is_not_parsed(here):
    data = write_zip(here / "a.zip").read_bytes()
    begin, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entry = data[begin : data.index(b"PK\1\2", begin + 1)]
    directory = entry * (17_000_000 // len(entry))  # 330,000 entries that name one member
    sizes = len(directory).to_bytes(4, "little") + begin.to_bytes(4, "little")
    (here / "a.zip").write_bytes(data[:begin] + directory + data[end : end + 12] + sizes + b"\0\0")
    tracemalloc.start()
    with pytest.raises(WorkError, match="central directory is larger than 16 MB"), open_zip(here / "a.zip"):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_name_that_is_not_utf8_is_typed(here):
    data = write_zip(here / "a.zip").read_bytes()
    (here / "a.zip").write_bytes(data.replace("\u00e9".encode(), b"\xff\xff"))
    with pytest.raises(WorkError, match="is not a zip file"), open_zip(here / "a.zip"):
        pass
