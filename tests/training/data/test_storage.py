"""The storage of frames is chosen by free memory and by the place of the shards, and said in a line."""

import shutil

import pytest

from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames
from training.clips import Clips
from training.data import frames as storage
from training.data.decoded import DecodedFrames, StreamedFrames
from training.data.memory import _free_of_groups, free_memory
from training.data.windows import ClipWindows

GB = 10**9


@pytest.fixture
def clips(here):
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n, 8, 16), n) for n in range(5)])
    return Clips()


def line_of(clips, capsys, **arguments):
    ClipWindows(clips, clips.rows, frames=2, stride=3, **arguments)
    return capsys.readouterr().out


def test_clips_that_fit_are_in_memory(clips, monkeypatch, capsys):
    monkeypatch.setattr(storage, "free_memory", lambda: 3 * GB)
    assert line_of(clips, capsys) == "5 clips, 0.0 GB of frames: in memory (3.0 GB are free)\n"


def test_clips_that_do_not_fit_are_decoded_from_shards_that_are_here(clips, monkeypatch, capsys):
    monkeypatch.setattr(storage, "free_memory", lambda: 60_000)
    reason = "0.0 GB are free, the shards are here"
    assert line_of(clips, capsys) == f"5 clips, 0.0 GB of frames: decoded from data/shards ({reason})\n"


def test_clips_that_do_not_fit_are_streamed_from_shards_elsewhere(clips, here, monkeypatch, capsys):
    monkeypatch.setattr(storage, "free_memory", lambda: 60_000)
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem().put(str(here / "data"), "/bucket/data", recursive=True)
    line = line_of(Clips(shards="memory://bucket"), capsys)
    assert line.endswith("streamed from memory://bucket (0.0 GB are free, the shards are remote)\n")


def test_the_param_decides_against_free_memory(clips, monkeypatch, capsys):
    monkeypatch.setattr(storage, "free_memory", lambda: 60_000)
    assert line_of(clips, capsys, storage="memory").endswith("in memory (loader.storage is memory, 0.0 GB are free)\n")
    assert line_of(clips, capsys, storage="stream").endswith("streamed from data/shards (loader.storage is stream)\n")


def test_processes_that_cannot_share_memory_need_it_each(monkeypatch):
    monkeypatch.setattr(storage, "free_memory", lambda: 10 * GB)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    for room, place in ((True, "host"), (False, "decode")):
        monkeypatch.setattr(storage, "can_share", lambda _, room=room: room)
        assert storage._choose(GB, storage.torch.device("cpu"), "auto", local=True)[0] == place


def test_clips_go_to_the_gpu_where_they_fit(monkeypatch, here):
    monkeypatch.setattr(storage, "free_gpu_memory", lambda _: 80 * GB)
    monkeypatch.setattr(storage, "free_memory", lambda: GB)
    choose = storage._choose(31 * GB, storage.torch.device("cuda", 0), "auto", local=True)
    assert choose == ("gpu", "80.0 GB of the GPU's memory are free")
    assert storage._choose(70 * GB, storage.torch.device("cuda", 0), "auto", local=True)[0] == "decode"


def test_one_process_of_torchrun_says_where_frames_are(clips, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert line_of(clips, capsys, storage="decode") == ""


@pytest.mark.parametrize(("name", "kind"), [("decode", DecodedFrames), ("stream", StreamedFrames)])
def test_the_param_names_the_storage(clips, name, kind):
    assert type(ClipWindows(clips, clips.rows, frames=2, stride=3, storage=name)._frames) is kind


def test_free_memory_is_less_than_a_terabyte_and_more_than_a_megabyte():
    assert 1e6 < free_memory() < 1e13


def test_free_memory_is_within_the_limit_of_a_control_group(tmp_path):
    (tmp_path / "groups").write_text("12:memory:/old\n0::/box/job\n")
    job = tmp_path / "mount/box/job"
    job.mkdir(parents=True)
    for folder, limit in ((job, "max"), (job.parent, "5000000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("3000000\n")
        (folder / "memory.stat").write_text("anon 10\ninactive_file 500000\n")
    assert list(_free_of_groups(tmp_path / "groups", tmp_path / "mount")) == [2_500_000]
    shutil.rmtree(tmp_path / "mount")
    assert list(_free_of_groups(tmp_path / "groups", tmp_path / "mount")) == []
