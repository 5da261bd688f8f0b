"""Freed raw files: they occupy no space, later stages are not rerun, and they can be downloaded again."""

import os

from pipeline.fetch.retention import count_punched, is_punched, punch_hole, punch_holes, remove_punched
from tests.pipeline.draw import frame_times, write_video
from tests.pipeline.fetch.conftest import raw_clips

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")


def test_punched_file_keeps_its_size_and_time_and_takes_no_space(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(os.urandom(1 << 20))
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    assert not is_punched(path)
    assert punch_hole(path) == 1 << 20
    assert is_punched(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (1 << 20, 1_234_567_890_123_456_789)
    assert path.stat().st_blocks == 0
    assert punch_hole(path) == 0


def test_empty_file_is_no_placeholder(tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    assert punch_hole(path) == 0
    assert remove_punched(tmp_path) == 0
    assert path.exists()


def test_only_files_in_the_pipelines_folders_are_punched(here):
    own, foreign, missing = (here / name for name in ("data/raw/a.mp4", "clips/a.mp4", "data/raw/b.mp4"))
    for path in (own, foreign):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"video")
    paths = [path.relative_to(here) for path in (own, foreign, missing)]
    assert punch_holes(paths) == 5
    assert foreign.read_bytes() == b"video"
    assert count_punched(paths) == 1
    assert remove_punched(here / "data/raw") == 1
    assert not own.exists()


def test_stages_find_their_work_done_after_raw_bytes_are_freed(mirrored):
    mirrored.run(*STAGES)
    before = {name: mirrored.rows(name) for name in ("download", "trim", "resample", "resize", "shards")}
    mirrored.set(download__keep_raw=False)
    mirrored.run(*STAGES)
    assert {is_punched(path) for path in raw_clips(mirrored)} == {True}
    assert sum(path.stat().st_blocks for path in raw_clips(mirrored)) == 0
    filmstrips = {path: path.stat().st_mtime_ns for path in mirrored.root.glob("data/filmstrips/**/*.jpg")}
    mirrored.run(*STAGES)
    assert {path: path.stat().st_mtime_ns for path in filmstrips} == filmstrips
    assert {name: mirrored.rows(name) for name in before} == before


def test_stage_that_needs_freed_bytes_names_refill(mirrored):
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


def test_files_of_a_users_own_folder_are_never_freed(project):
    for number in range(3):
        write_video(project.root / f"clips/c{number}/a.mp4", frame_times(20 + number, 10))
    before = {path: path.read_bytes() for path in project.root.glob("clips/*/*")}
    project.set(download__keep_raw=False)
    project.run(*STAGES[:4])
    assert {path: path.read_bytes() for path in before} == before
