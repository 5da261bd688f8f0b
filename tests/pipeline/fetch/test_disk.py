"""The disk budget `download.disk_gb`."""

import re

import pytest

from common.errors import WorkError
from pipeline.fetch.disk import Disk
from tests.pipeline.fetch.conftest import raw_clips


def test_budget_counts_the_files_that_exist(tmp_path):
    (tmp_path / "a").write_bytes(bytes(600_000))
    disk = Disk(tmp_path, 0.001)
    disk.reserve(300_000, "b")
    with pytest.raises(WorkError, match=r"c needs 0\.30 MB: 0\.90 MB of download\.disk_gb, 0\.001, are taken"):
        disk.reserve(300_000, "c")


def test_check_does_not_reserve(tmp_path):
    disk = Disk(tmp_path, 0.001)
    disk.check(800_000, "a")
    disk.check(800_000, "b")
    with pytest.raises(WorkError, match="c needs"):
        disk.check(1_100_000, "c")


def test_deleted_file_returns_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(bytes(600_000))
    disk = Disk(tmp_path, 0.001)
    with pytest.raises(WorkError):
        disk.reserve(600_000, "b")
    disk.delete(tmp_path / "a")
    disk.delete(tmp_path / "a")
    disk.reserve(600_000, "b")


def test_no_limit_allows_any_size(tmp_path):
    disk = Disk(tmp_path, None)
    disk.require(1 << 50, "anything")
    disk.reserve(1 << 50, "anything")


def test_download_stops_at_the_budget_and_completes_when_space_is_freed(mirrored):
    mirrored.set(download__disk_gb=0.001)
    mirrored.run("download")
    before = mirrored.rows("download")
    kept = raw_clips(mirrored)
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
    assert mirrored.rows("download") == before


def test_plan_over_the_budget_stops_before_the_first_byte(mirrored):
    part = mirrored.root / "mirror/kinetics/400/train/part_0.tar.gz"
    part.write_bytes(part.read_bytes() + bytes(3_000_000))  # zeros may follow a gzip member
    mirrored.set(download__disk_gb=0.001)
    done = mirrored.call("download")
    assert done.returncode == 1
    assert re.search(r"kinetics400 will keep about 3\.\d\d MB: download\.disk_gb is 0\.001", done.stderr)
    assert not raw_clips(mirrored)
