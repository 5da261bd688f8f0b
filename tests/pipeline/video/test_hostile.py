"""Headers that claim huge frames, lengths, rates or numbers of streams fail with a code, in bounded time and memory."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.records.failures import ClipError, Failure
from pipeline.video import packets
from pipeline.video.frames import read_frame_times
from tests.conftest import REPO
from tests.pipeline.draw import frame_times, process_clip, run_ffmpeg, write_video

MEMORY = 1 << 30  # bytes that reading a hostile file may take, the interpreter and its libraries included


def box(kind, *content):
    """A box of an mp4 file."""
    data = b"".join(content)
    return (len(data) + 8).to_bytes(4, "big") + kind + data


def mp4_with_streams(count):
    """An mp4 header that declares `count` H.264 streams without samples."""
    sample = bytes(6) + b"\0\1" + bytes(16) + b"\0\x80\0\x60" + bytes(46) + b"\0\x18\xff\xff"
    empty = bytes(8)
    table = box(
        b"stbl",
        box(b"stsd", b"\0\0\0\0\0\0\0\1", box(b"avc1", sample)),
        *(box(kind, empty) for kind in (b"stts", b"stsc", b"stco")),
        box(b"stsz", bytes(12)),
    )
    handler = box(b"hdlr", bytes(8), b"vide", bytes(13))
    media = box(b"mdia", box(b"mdhd", bytes(12), b"\0\0\0\x0a", bytes(8)), handler, box(b"minf", table))
    tracks = (box(b"trak", box(b"tkhd", bytes(84)), media) for _ in range(count))
    header = box(b"mvhd", bytes(12), b"\0\0\0\x0a", bytes(84))
    return box(b"ftyp", b"isom\0\0\2\0isom") + box(b"moov", header, *tracks)


def mp4_with_samples(count):
    """An mp4 whose header declares `count` samples of one byte, a million a second, without a table entry for each."""
    number, one = count.to_bytes(4, "big"), b"\0\0\0\0\0\0\0\1"
    sample = bytes(6) + b"\0\1" + bytes(16) + b"\0\x80\0\x60" + bytes(46) + b"\0\x18\xff\xff"
    tables = (
        box(b"stsd", one, box(b"mp4v", sample)),
        box(b"stts", one, number, b"\0\0\0\1"),
        box(b"stsc", one, b"\0\0\0\1", number, b"\0\0\0\1"),
        box(b"stco", one, b"\0\0\0\x20"),
        box(b"stsz", bytes(4), b"\0\0\0\1", number),
    )
    clock = box(b"mdhd", bytes(12), (1_000_000).to_bytes(4, "big"), number, bytes(4))
    media = box(b"mdia", clock, box(b"hdlr", bytes(8), b"vide", bytes(13)), box(b"minf", box(b"stbl", *tables)))
    header = box(b"mvhd", bytes(12), b"\0\0\0\x0a", bytes(84))
    movie = box(b"moov", header, box(b"trak", box(b"tkhd", bytes(84)), media))
    return box(b"ftyp", b"isom\0\0\2\0isom") + movie + box(b"mdat", bytes(1000))


def ivf(width, height, *, claims):
    """A VP8 stream of one keyframe header of the given size, in a file whose header claims the size `claims`."""
    frame = b"\x10\x02\0\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + bytes(100)
    sizes = b"".join(side.to_bytes(2, "little") for side in claims)
    header = b"DKIF\0\0\x20\0VP80" + sizes + b"\x0a\0\0\0\1\0\0\0\1\0\0\0" + bytes(4)
    return header + len(frame).to_bytes(4, "little") + bytes(8) + frame


HOSTILE = {
    "frames of 16384x16384": ("a.y4m", b"YUV4MPEG2 W16384 H16384 F25:1\nFRAME\n", Failure.UNREADABLE_CONTAINER),
    "frames larger than the header": ("a.ivf", ivf(16383, 16383, claims=(64, 64)), Failure.DECODE_ERROR),
    "frames as large as the header": ("a.ivf", ivf(16383, 16383, claims=(16383, 16383)), Failure.TOO_LARGE),
    "5 million frames in 5 s": ("a.mp4", mp4_with_samples(5_000_000), Failure.DECODE_ERROR),
    "2 billion frames": ("a.mp4", mp4_with_samples((1 << 31) - 1), Failure.DECODE_ERROR),
    "10,000 streams": ("a.mp4", mp4_with_streams(10_000), Failure.TOO_LARGE),
}

READ = """
import resource, sys
from pipeline.records.failures import ClipError
from tests.pipeline.draw import process_clip
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
try:
    process_clip(sys.argv[1])
except ClipError as error:
    print(error.code)
else:
    print("ok")
# Not ru_maxrss, which begins with the peak of the process that forked this one.
status = open("/proc/self/status").read()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_fails_with_a_code_in_bounded_memory(tmp_path, kind):
    name, data, code = HOSTILE[kind]
    path = tmp_path / name
    path.write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    outcome, memory = run.stdout.split()
    assert outcome == code
    assert int(memory) < MEMORY


def test_a_length_of_300_hours_costs_no_more_than_its_frames(here):
    path = write_video(here / "a.mkv", [Fraction(0), Fraction(300 * 3600)], b_frames=0, time_base=Fraction(1, 10))
    clip = process_clip(path)
    assert clip.counters == [0] * 100
    assert clip.trim.duration_s > 1_000_000


def test_a_million_frames_a_second_are_not_read_for_ever(here, monkeypatch):
    path = write_video(here / "a.mkv", frame_times(300, 1000), b_frames=0)
    assert len(read_frame_times(path, until_s=Fraction(10)).pts) == 300
    monkeypatch.setattr(packets, "_SPARE_PACKETS", 100)
    monkeypatch.setattr(packets, "_MAX_PACKETS_PER_S", 10)
    with pytest.raises(ClipError, match=r"too_large: more than 200 frames in the first 10.0 s"):
        read_frame_times(path, until_s=Fraction(10))
    monkeypatch.setattr(packets, "_MAX_PACKETS", 250)
    with pytest.raises(ClipError, match="too_large: more than 250 frames"):
        read_frame_times(path)


def test_a_stream_without_timestamps_is_read_however_long_it_is(here, monkeypatch):
    video = write_video(here / "a.mp4", frame_times(50, 25))
    run_ffmpeg("-i", video, "-c", "copy", "-f", "h264", here / "a.h264")
    monkeypatch.setattr(packets, "_MAX_PACKETS", 20)
    assert len(read_frame_times(here / "a.h264", until_s=Fraction(10)).pts) == 50
