"""Room on the disk: a budget that is kept, and raw bytes that are dropped without anything being done again."""

import os

import pytest

from common.errors import WorkError
from pipeline.fetch.disk import Disk, hollow, is_hollow, remove_hollow
from tests.pipeline.draw import counter_picture, frame_times, write_video
from tests.pipeline.mirror import ids, kinetics, member

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")


@pytest.fixture
def mirrored(project, tmp_path):
    """Two parts of three clips in two classes."""
    videos = ids(*"abcdef")
    shown = [[counter_picture(100 * n + k) for k in range(20)] for n in range(6)]
    clips = [write_video(tmp_path / f"{n}.mp4", frame_times(20, 10), pictures=shown[n]).read_bytes() for n in range(6)]
    rows = [(("run", "jump")[n % 2], video, 0) for n, video in enumerate(videos)]
    members = [(member(video, 0), clip) for video, clip in zip(videos, clips, strict=True)]
    return kinetics(project, rows, [{"members": members[:3]}, {"members": members[3:]}], clips=6)


def raw(project):
    return sorted(path for path in (project.root / "data/raw").rglob("*.mp4"))


def test_a_hollow_file_keeps_its_size_and_time(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(1 << 20))
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    assert not is_hollow(path)
    assert hollow(path) == 1 << 20
    assert is_hollow(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (1 << 20, 1_234_567_890_123_456_789)
    assert path.stat().st_blocks == 0
    assert hollow(path) == 0
    (tmp_path / "empty.mp4").touch()
    assert hollow(tmp_path / "empty.mp4") == 0
    assert remove_hollow(tmp_path) == 1
    assert [left.name for left in tmp_path.iterdir()] == ["empty.mp4"]


def test_the_budget_counts_what_is_there(tmp_path):
    (tmp_path / "a").write_bytes(bytes(600_000))
    disk = Disk(tmp_path, 0.001)
    disk.spend(300_000, "b")
    with pytest.raises(WorkError, match=r"c needs 0.00 GB.*disk_gb, 0.001"):
        disk.spend(300_000, "c")
    Disk(tmp_path, None).spend(1 << 50, "anything")


def test_too_small_a_budget_stops_before_the_first_byte_or_in_time(mirrored):
    mirrored.set(download__disk_gb=0.001)
    mirrored.run("download")
    whole = mirrored.rows("download")
    kept = raw(mirrored)
    assert len(kept) == 6
    for path in kept[3:]:
        path.unlink()
    (mirrored.root / "data/raw/filler").write_bytes(bytes(990_000))
    done = mirrored.call("download")
    assert done.returncode == 1
    assert "download.disk_gb, 0.001, are taken" in done.stderr
    assert "Traceback" not in done.stderr
    (mirrored.root / "data/raw/filler").unlink()
    mirrored.run("download")
    assert mirrored.rows("download") == whole


def test_a_plan_that_cannot_fit_is_refused(mirrored):
    part = mirrored.root / "mirror/kinetics/400/train/part_0.tar.gz"
    part.write_bytes(part.read_bytes() + bytes(3_000_000))  # zeros may follow a gzip member
    mirrored.set(download__disk_gb=0.001)
    done = mirrored.call("download")
    assert done.returncode == 1
    assert "kinetics400 will keep about 0.0 GB: download.disk_gb is 0.001" in done.stderr
    assert not raw(mirrored)


def test_raw_bytes_are_dropped_and_nothing_is_done_again(mirrored):
    mirrored.run(*STAGES)
    before = {name: mirrored.rows(name) for name in ("download", "trim", "resample", "resize", "shards")}
    mirrored.set(download__keep_raw=False)
    mirrored.run(*STAGES)
    assert {is_hollow(path) for path in raw(mirrored)} == {True}
    assert sum(path.stat().st_blocks for path in raw(mirrored)) == 0
    strips = {path: path.stat().st_mtime_ns for path in mirrored.root.glob("data/filmstrips/**/*.jpg")}
    mirrored.run(*STAGES)
    assert {path: path.stat().st_mtime_ns for path in strips} == strips
    assert {name: mirrored.rows(name) for name in before} == before


def test_bytes_that_are_needed_again_are_asked_for(mirrored):
    mirrored.set(download__keep_raw=False)
    mirrored.run(*STAGES)
    mirrored.set(resample__fps=5, resample__frames=50, resample__min_frames=5)
    done = mirrored.call("resample")
    assert done.returncode == 1
    assert "6 clips are to be done again" in done.stderr
    assert "download --refill" in done.stderr
    assert mirrored.call("download", "--refill").returncode == 0
    mirrored.run(*STAGES[1:])
    assert {row["status"] for row in mirrored.rows("resample").values()} == {"ok"}


def test_a_users_own_files_are_never_dropped(project):
    for number in range(3):
        write_video(project.root / f"clips/c{number}/a.mp4", frame_times(20 + number, 10))
    before = {path: path.read_bytes() for path in project.root.glob("clips/*/*")}
    project.set(download__keep_raw=False)
    project.run(*STAGES[:4])
    assert {path: path.read_bytes() for path in before} == before
