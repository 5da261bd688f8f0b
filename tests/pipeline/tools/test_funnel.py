"""The funnel counts clips by stage and source, and each lost clip once, where it failed first."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import WorkError
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import ClipRow, DownloadRow, ResizeRow, Status, TrimRow
from pipeline.tools import funnel
from pipeline.tools.funnel import Loss, OtherFiles, Tables

TIMEOUT = ClipError(Failure.TIMEOUT, "no result after 120 s")


def download_row(clip_id: str, source: str = "own", status: Status = "ok") -> DownloadRow:
    return DownloadRow(
        clip_id=clip_id, source=source, status=status, video_id=clip_id, labels=("a",), path="a.mp4", bytes=1, sha256=""
    )


def trim_row(row: ClipRow) -> TrimRow:
    return TrimRow(clip_id=row.clip_id, source=row.source, path="a.mp4", lead_in_s=0.0, duration_s=1.0, bytes=1)


def resize_row(row: ClipRow) -> ResizeRow:
    return ResizeRow(
        clip_id=row.clip_id,
        source=row.source,
        path="a.jpg",
        bytes=1,
        sha256="",
        valid_frames=10,
        motion=0.1,
        sharpness=0.1,
        brightness=0.5,
    )


def test_counts_are_by_source_and_step_with_a_sum():
    a, b = download_row("a"), download_row("b", "other")
    tables = Tables(
        download=[a, b, download_row("c", "other", "spare"), download_row("d", status="failed")],
        resize=[resize_row(a), ResizeRow.failed(b, TIMEOUT)],
    )
    assert funnel.STEPS[:4] == ("annotated", "wanted", "downloaded", "decoded")
    assert funnel.count_steps(tables) == {
        "own": [2, 2, 1, 1, 0, 0],
        "other": [2, 1, 1, 0, 0, 0],
        "all": [4, 3, 2, 1, 0, 0],
    }


def test_single_source_has_no_sum():
    assert funnel.count_steps(Tables(download=[download_row("a")])) == {"own": [1, 1, 1, 0, 0, 0]}


def test_lost_clip_is_counted_once_in_the_stage_where_it_failed_first():
    lost = TrimRow.failed(download_row("a"), TIMEOUT)
    tables = Tables(
        download=[download_row("a"), download_row("b")],
        trim=[lost, trim_row(download_row("b"))],
        resize=[ResizeRow.carried(lost), resize_row(download_row("b"))],
    )
    assert list(funnel.failures(tables)) == [("trim", lost)]
    assert funnel.losses(tables) == [Loss("trim", "own", "timeout", 1, lost)]


def test_losses_are_ordered_by_stage_then_by_number():
    duplicate, broken = ClipError(Failure.DUPLICATE, "again"), ClipError(Failure.DECODE_ERROR, "broken")
    download = [download_row(name) for name in "abcd"]
    tables = Tables(
        download=download,
        trim=[TrimRow.failed(download[0], duplicate), *(TrimRow.failed(row, broken) for row in download[1:3])],
        resize=[ResizeRow.failed(download[3], TIMEOUT)],
    )
    found = [(loss.stage, loss.error, loss.clips, loss.example.clip_id) for loss in funnel.losses(tables)]
    assert found == [("trim", "decode_error", 2, "b"), ("trim", "duplicate", 1, "a"), ("resize", "timeout", 1, "d")]


def test_files_that_are_not_videos_are_counted_apart_by_kind():
    names = ("a/one.txt", "a/two.TXT", "a/.hidden.mp4", f"a/{'x' * 200}.json", "a/\x1b.json", "a/0.json")
    others = [
        replace(download_row(name, status="failed"), error="not_video", error_detail="not a video") for name in names
    ]
    tables = Tables(download=[download_row("clip"), *others])
    assert funnel.count_steps(tables) == {"own": [1, 1, 1, 0, 0, 0]}
    assert funnel.losses(tables) == []
    assert funnel.other_files(tables) == [
        OtherFiles("own", ".json", 3, r"a/\x1b.json"),
        OtherFiles("own", ".txt", 2, "a/one.txt"),
        OtherFiles("own", "hidden", 1, "a/.hidden.mp4"),
    ]


def test_missing_download_manifest_is_an_error(here: Path):
    with pytest.raises(WorkError, match=r"download\.parquet is missing"):
        funnel.read()
