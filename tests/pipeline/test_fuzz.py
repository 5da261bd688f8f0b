"""Damaged files of every kind end as a filmstrip or as a typed failure, in time, and leave nothing behind."""

import collections
import os
import random
import re
import resource

import pytest

from pipeline import runner
from pipeline.params import Resample, Resize, Trim
from pipeline.records.failures import ClipError, Failure
from pipeline.resample import resample
from pipeline.resize import resize
from pipeline.trim import trim
from tests.conftest import real_videos
from tests.pipeline.draw import frame_times, write_audio, write_video

TIMEOUT_S = 30
BOX = re.compile(rb"(moov|trak|mdia|mdhd|elst|stsd|stts|ctts|stsc|stsz|stco|stss|avcC|tkhd|mvhd|mdat)")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Small files, drawn and real, of many codecs and containers."""
    folder = tmp_path_factory.mktemp("healthy")
    kinds = [
        ("mp4", "libx264", 2),
        ("mov", "libx264", 0),
        ("mkv", "libx264", 3),
        ("avi", "mpeg4", 0),
        ("ts", "libx264", 2),
    ]
    kinds += [("webm", "libvpx-vp9", 0), ("mp4", "libx265", 2), ("flv", "libx264", 2), ("mp4", "mpeg4", 2)]
    drawn = [
        write_video(folder / f"{number}.{suffix}", frame_times(40, 20), codec=codec, b_frames=b_frames, size=(96, 64))
        for number, (suffix, codec, b_frames) in enumerate(kinds)
    ]
    return drawn + [path for path in real_videos() if path.stat().st_size < 300_000]


def mutate(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """Flip bits, cut, blank, splice in a piece of another file, or lie in a box of an mp4."""
    made = bytearray(data)
    how = draw.choice(["flip", "flip", "cut", "blank", "splice", "repeat", "box", "box"])
    at = draw.randrange(len(made))
    span = draw.randrange(1, min(4096, len(made)) + 1)
    if how == "flip":
        for _ in range(draw.choice([1, 4, 16, 64])):
            made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del made[at:]
    elif how == "blank":
        made[at : at + span] = bytes(len(made[at : at + span]))
    elif how == "splice":
        begin = draw.randrange(len(other))
        made[at : at + span] = other[begin : begin + span]
    elif how == "repeat":
        made[at:at] = made[at : at + span]
    else:
        boxes = [found.start() for found in BOX.finditer(data)] or [at]
        field = draw.choice(boxes) + draw.randrange(-4, 40)
        wild = [0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, draw.getrandbits(32)]
        made[max(0, field) : max(0, field) + 4] = draw.choice(wild).to_bytes(4, "big")
    return bytes(made)


def take_through(argument):
    """Make mutant `seed` in the folder, and take it through the three stages as a whole or as a window."""
    folder, paths, seed = argument
    os.chdir(folder)
    draw = random.Random(seed)
    source = draw.choice(paths)
    with open(source, "rb") as first, open(draw.choice(paths), "rb") as second:
        data = mutate(first.read(), second.read(), draw)
    path = f"{seed}{os.path.splitext(source)[1]}"
    with open(path, "wb") as file:
        file.write(data)
    row = {"clip_id": f"mutant{seed}", "source": "own", "path": path, "precut": draw.random() < 0.7}
    row |= {"start_s": 0.3, "end_s": 1.6}
    try:
        row |= trim(row, Trim(margin_s=1.0))
        row |= resample(row, Resample(fps=10, frames=100, min_frames=1, pad="loop"))
        row |= resize(row, Resize(size=64, fit="stretch", format="jpg", quality=95, timeout_s=TIMEOUT_S))
        return {"bytes": row["bytes"]}
    finally:
        for left in {path, row["path"], str(row.get("path", path))}:
            if os.path.exists(left):
                os.unlink(left)


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])])
def test_every_mutant_ends_well_or_with_a_reason(healthy, tmp_path, count):
    paths = [str(path.resolve()) for path in healthy]
    tasks = [runner.Task(f"mutant{seed}", (str(tmp_path), paths, seed)) for seed in range(count)]
    outcomes = collections.Counter()
    died = []
    for task, answer in runner.run(take_through, tasks, timeout_s=TIMEOUT_S):
        if isinstance(answer, ClipError):
            assert answer.code in Failure
            assert answer.detail
            outcomes[answer.code.value] += 1
            if "worker process died" in answer.detail or answer.code is Failure.TIMEOUT:
                died.append(f"{task.clip_id}: {answer}")
        else:
            outcomes["ok"] += 1
    print(dict(outcomes), died)
    assert outcomes.total() == count
    assert outcomes["ok"] > 0.1 * count
    assert len(died) <= 0.002 * count, died  # a crash inside FFmpeg is survived; many would be ours
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize("count", [400, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_no_file_handle_and_no_memory_is_left_behind(here, count):
    """The same process over many clips, broken ones among them."""
    good = write_video(here / "good.mp4", frame_times(20, 20), size=(96, 64))
    avi = write_video(here / "good.avi", frame_times(20, 20), codec="mpeg4", size=(96, 64))
    (here / "bad.mp4").write_bytes(good.read_bytes()[:2000])
    write_audio(here / "sound.mp4")
    paths = [good, avi, here / "bad.mp4", here / "sound.mp4"]

    def once(number):
        row = {"clip_id": "clip", "source": "own", "path": str(paths[number % 4]), "precut": True}
        try:
            row |= trim(row, Trim(margin_s=1.0))
            row |= resample(row, Resample(fps=10, frames=100, min_frames=1, pad="loop"))
            resize(row, Resize(size=64, fit="stretch", format="jpg", quality=95, timeout_s=TIMEOUT_S))
        except ClipError:
            return False
        return True

    def usage():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    assert sum(once(number) for number in range(count // 4)) == count // 8
    handles, memory = len(os.listdir("/proc/self/fd")), usage()
    for number in range(count):
        once(number)
    assert len(os.listdir("/proc/self/fd")) == handles
    assert usage() - memory < 16e6
