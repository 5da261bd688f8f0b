"""Archives from the internet: read in one pass, taken up again anywhere, and never believed."""

import contextlib
import gzip
import io
import random
import resource
import tarfile
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fetch.archives import Place, TarStream, extract_zip_member
from pipeline.fetch.disk import Disk
from pipeline.fetch.inflate import Damaged, Inflater, Mark
from pipeline.records.failures import ClipError, Failure
from pipeline.sources.kinetics400 import _clip_id
from tests.pipeline.mirror import pack

# gzip left and taken up again


@st.composite
def contents(draw):
    """Bytes of which some are noise and some repeat themselves, packed at any level, in one or several gzip members."""
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    pieces = draw(st.lists(st.integers(0, 120_000), min_size=1, max_size=8))
    data = b"".join(
        rng.randbytes(size) if rng.random() < 0.5 else bytes(rng.choices(b"ab ", k=size)) for size in pieces
    )
    cut = draw(st.integers(0, len(data)))
    level = draw(st.integers(0, 9))
    packed = gzip.compress(data[:cut], level) + gzip.compress(data[cut:], level)
    return data, packed + bytes(draw(st.sampled_from([0, 512])))


@settings(deadline=None, max_examples=60)
@given(contents(), st.integers(1, 200_000))
def test_gzip_is_taken_up_at_every_mark(content, step):
    data, packed = content
    reader, got, marks = Inflater(io.BytesIO(packed)), b"", {}
    while piece := reader.read(step):
        got += piece
        mark = reader.mark_before(len(got))
        assert mark.unpacked <= len(got)
        marks[mark.unpacked] = mark
    assert got == data
    for mark in marks.values():
        rest = io.BytesIO(packed)
        rest.seek(mark.packed)
        assert Inflater(rest, Mark.from_json(mark.to_json())).read() == data[mark.unpacked :]


def test_marks_are_near():
    data = random.Random(0).randbytes(4_000_000)
    reader, gaps = Inflater(io.BytesIO(gzip.compress(data, 6))), []
    position = 0
    while piece := reader.read(100_000):
        position += len(piece)
        gaps.append(position - reader.mark_before(position).unpacked)
    assert max(gaps) < 300_000


@pytest.mark.parametrize("at", [0, 2, 3, 20_000, -6, -2])
def test_a_changed_byte_is_noticed(at):
    packed = bytearray(gzip.compress(random.Random(0).randbytes(60_000), 6))
    packed[at] ^= 0xFF
    with pytest.raises((Damaged, EOFError)):
        Inflater(io.BytesIO(packed)).read()


@pytest.mark.parametrize("keep", [0, 5, 12, 30_000, -8, -1])
def test_an_early_end_is_noticed(keep):
    packed = gzip.compress(random.Random(0).randbytes(60_000), 6)[: keep or None]
    if keep:
        with pytest.raises(EOFError):
            Inflater(io.BytesIO(packed)).read()
    else:
        assert len(Inflater(io.BytesIO(packed)).read()) == 60_000


# tars


def tar(*members, level=1, end=True):
    """A tar.gz of (name, bytes or size); a number stands for so many random bytes."""
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
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("level", [None, 0, 6])
def test_a_tar_is_taken_up_after_every_member(tmp_path, level):
    packed = tar(*((f"{n}.mp4", 1 + 70_000 * (n % 5)) for n in range(20)), level=level)
    whole, places = {}, []
    stream = TarStream(io.BytesIO(packed))
    for member in stream:
        member.write(tmp_path / member.name)
        whole[member.name] = (tmp_path / member.name).read_bytes()
        places.append(Place.from_json(stream.place(member.after).to_json()))
    assert list(whole) == [f"{n}.mp4" for n in range(20)]
    for number, place in enumerate(places):
        rest = io.BytesIO(packed)
        rest.seek(place.mark.packed)
        again = {}
        for member in TarStream(rest, place):
            member.write(tmp_path / "again.mp4")
            again[member.name] = (tmp_path / "again.mp4").read_bytes()
        assert again == {name: whole[name] for name in list(whole)[number + 1 :]}


def names(packed):
    return [member.name for member in TarStream(io.BytesIO(packed))]


@pytest.mark.parametrize("cut", [20, 700, 5000, 6656, 7168, 13_312])
@pytest.mark.parametrize("level", [None, 6])
def test_a_tar_cut_short_anywhere_is_typed(cut, level):
    raw = tar(("a.mp4", 6000), ("b.mp4", 6000), level=None)
    packed = raw[:cut] if level is None else gzip.compress(raw[:cut], level)
    with pytest.raises(ClipError) as caught:
        names(packed)
    assert caught.value.code is Failure.TRUNCATED


def test_a_damaged_header_is_not_taken_for_the_end():
    raw = bytearray(tar(("a.mp4", 1000), ("b.mp4", 1000), ("c.mp4", 1000), level=None))
    raw[1536 + 5] ^= 0xFF
    with pytest.raises(ClipError, match="a header is damaged"):
        names(bytes(raw))


def test_a_wrong_checksum_at_the_very_end_is_noticed():
    packed = bytearray(tar(("a.mp4", 1000)))
    packed[-5] ^= 0xFF
    with pytest.raises(ClipError) as caught:
        names(bytes(packed))
    assert caught.value.code is Failure.CHECKSUM_MISMATCH


def test_only_regular_files_are_members(tmp_path):
    link, device = (
        header(name, type=kind, linkname="/etc/passwd") for name, kind in (("l.mp4", b"2"), ("d.mp4", b"3"))
    )
    folder, hard = header("f.mp4", type=b"5"), header("h.mp4", type=b"1", linkname="a.mp4")
    assert names(link + device + folder + hard + tar(("a.mp4", 10), level=None)) == ["a.mp4"]


def test_a_member_of_a_hundred_gigabytes_is_refused(tmp_path):
    claim = header("huge.mp4", size=100 << 30)
    with pytest.raises(ClipError) as caught:
        names(claim + bytes(5000))
    assert caught.value.code is Failure.UNSAFE_PATH


def test_a_member_larger_than_any_clip_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_LIMIT", 1000)
    stream = iter(TarStream(io.BytesIO(tar(("bomb.mp4", 2000), ("fine.mp4", 500)))))
    with pytest.raises(ClipError, match="unsafe_path"):
        next(stream).check()
    fine = next(stream)
    fine.check()
    fine.write(tmp_path / fine.name)
    assert (tmp_path / "fine.mp4").stat().st_size == 500


def test_a_header_that_unpacks_to_a_gigabyte_takes_no_memory():
    bomb = gzip.compress(header("x", type=tarfile.XHDTYPE, size=1 << 30) + bytes(64 << 20), 9)
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ClipError) as caught:
        names(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code is Failure.UNSAFE_PATH
    assert peak < 16 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KB


def test_an_archive_of_countless_members_is_refused(monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives._MEMBERS_LIMIT", 10)
    with pytest.raises(ClipError, match="claims more than"):
        names(tar(*((f"{n}.mp4", 1) for n in range(12))))


@pytest.mark.parametrize(
    "extended",
    [b"30 size=notanumberatallhere!!\n", b"9999999 path=x\n", b"15 hdrcharset=\xff\n", b"\xff" * 100, b"0 =\n"],
)
def test_odd_extended_headers_are_survived(extended):
    odd = header("x", type=tarfile.XHDTYPE, size=len(extended)) + extended.ljust(512, b"\0")
    with contextlib.suppress(ClipError):
        assert len(names(odd + tar(("a.mp4", 10), level=None))) == 1


@pytest.mark.parametrize(
    "name",
    [
        "../abcdefghijk_000000_000010.mp4",
        "/abcdefghijk_000000_000010.mp4",
        "abcdefghijk_000000_000010.mp4\n",
        "abcdefghijk_٠٠٠٠٠٠_000010.mp4",
        "abcdefghij\u202e_000000_000010.mp4",
        "ａbcdefghijk_000000_000010.mp4",
        "abcdefghijk_000000_000010.mp4/../../x",
        "",
    ],
)
def test_a_name_that_is_no_clips_is_no_clip(name):
    assert _clip_id(name) == ""


# zips


def test_a_zip_bomb_is_refused_by_its_size(here, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_LIMIT", 1_000_000)
    with zipfile.ZipFile(here / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mp4", bytes(50_000_000))
    with zipfile.ZipFile(here / "a.zip") as archive, pytest.raises(ClipError, match=r"unsafe_path.*50000000"):
        extract_zip_member(archive, "bomb.mp4", here / "out.mp4", Disk(here, None))
    assert not (here / "out.mp4").exists()


def test_a_zip_member_that_lies_about_its_size_does_not_fill_the_disk(here):
    with zipfile.ZipFile(here / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mp4", bytes(5_000_000))
    data = (here / "a.zip").read_bytes()
    (here / "a.zip").write_bytes(data.replace((5_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with zipfile.ZipFile(here / "a.zip") as archive, pytest.raises(ClipError, match="truncated"):
        extract_zip_member(archive, "bomb.mp4", here / "out.mp4", Disk(here, None))
    assert list(here.iterdir()) == [here / "a.zip"]


def test_a_damaged_archive_on_disk_keeps_nothing(here):
    pack(here / "a.tar.gz", [("a.mp4", b"x" * 500)])
    assert names((here / "a.tar.gz").read_bytes()) == ["a.mp4"]
