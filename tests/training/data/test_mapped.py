"""Processes of torchrun on one machine decode clips once, into memory that they share."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from common.errors import WorkError
from tests.conftest import REPO
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames
from training.clips import Clips
from training.data import mapped
from training.data.windows import ClipWindows


@pytest.fixture
def clips(here, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n, 8, 16), n) for n in range(5)])
    return Clips()


def load(clips):
    return ClipWindows(clips, clips.rows, frames=2, stride=3, storage="memory")


def files():
    """Files of frames that are left; locks of processes that have failed do not count."""
    return [path.name for path in mapped.FOLDER.iterdir() if path.suffix != ".lock"]


def windows_of(data):
    return data.even_windows(torch.arange(len(data)), 0, 1)


def test_the_second_process_maps_the_memory_of_the_first(clips, here):
    first, second = load(clips), load(clips)
    expected = torch.stack([clips[row.clip_id][2:6:3] for row in clips.rows])
    assert torch.equal(windows_of(first), expected)
    first._frames.pixels[3] = 7
    assert (windows_of(second)[3] == 7).all()
    assert torch.equal(windows_of(second)[:3], expected[:3])


def test_clips_are_decoded_once(clips, monkeypatch):
    decoded = []
    decode = Clips.decode
    monkeypatch.setattr(Clips, "decode", lambda self, clip, data=None: decoded.append(clip) or decode(self, clip, data))
    load(clips), load(clips)
    assert len(decoded) == 5


def test_no_file_is_left_once_all_have_mapped_it(clips, here):
    data = load(clips)
    assert len(files()) == 1
    load(clips)
    assert list(mapped.FOLDER.iterdir()) == []
    assert len(windows_of(data)) == 5


def test_unreadable_clips_are_left_out_in_all_processes(clips, here, capsys):
    row = clips.rows[1]
    shard = bytearray((here / row.shard).read_bytes())
    shard[row.offset] ^= 1
    (here / row.shard).write_bytes(shard)
    for data in (load(clips), load(clips)):
        assert [row.clip_id for row in data.rows] == ["n0", "n2", "n3", "n4"]
        assert torch.equal(windows_of(data)[1], clips["n2"][2:6:3])
    assert capsys.readouterr().out.count("1 of 5 clips cannot be read and are left out") == 1


def test_other_clips_have_memory_of_their_own(clips):
    first = load(clips)
    second = ClipWindows(clips, clips.rows[:2], frames=2, stride=3, storage="memory")
    first._frames.pixels[:] = 7
    assert not (windows_of(second) == 7).all()


def test_files_of_processes_that_have_ended_are_deleted(clips):
    mapped.FOLDER.mkdir(parents=True)
    stale = mapped.FOLDER / ".part-999999999-0123"
    stale.write_bytes(b"frames")
    load(clips)
    assert not stale.exists()


def test_a_full_disk_is_one_line_and_leaves_no_file(clips, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        WorkError, match=r"^data/frames/\S+ has no room for 0\.0 GB of frames: No space left on device$"
    ):
        load(clips)
    assert files() == []


def test_memory_is_not_shared_on_a_disk_without_room(clips, monkeypatch):
    monkeypatch.setattr("training.data.resident.can_share", lambda _: False)
    first, second = load(clips), load(clips)
    first._frames.pixels[:] = 7
    assert not (windows_of(second) == 7).all()


def test_a_decoder_that_fails_leaves_no_file(clips, here):
    assert clips.size == 16
    (here / "data/shards/train-000000.tar").write_bytes(b"")
    with pytest.raises(WorkError, match="5 clips in a row cannot be read"):
        load(clips)
    assert files() == []


@pytest.mark.slow
def test_processes_started_together_share_what_the_first_decodes(clips, here):
    script = textwrap.dedent("""
        import hashlib, torch
        from training.clips import Clips
        from training.data.windows import ClipWindows
        clips = Clips()
        data = ClipWindows(clips, clips.rows, frames=2, stride=3, storage="memory")
        windows = data.even_windows(torch.arange(len(data)), 0, 1)
        print(hashlib.sha256(windows.numpy().tobytes()).hexdigest())
    """)
    environment = os.environ | {"PYTHONPATH": str(REPO), "RANK": "1", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = {rank.communicate(timeout=200)[0] for rank in ranks}
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert len(printed) == 1
    assert files() == []
