"""Manifests: typed rows in, sorted parquet out, the same bytes for the same rows."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import WorkError
from pipeline.records import manifests
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import ROW_TYPES, ClassRow, ClipRow, CompositeRow, DownloadRow, ResampleRow, TrimRow
from pipeline.records.schema import schema


def trim_row(clip_id: str, **columns: object) -> TrimRow:
    values = {"path": f"{clip_id}.mp4", "lead_in_s": 0.5, "duration_s": 10.0, "bytes": 3} | columns
    return TrimRow(clip_id=clip_id, source="own", key="k", **values)


def resample_row(clip_id: str, timeline: tuple[int, ...]) -> ResampleRow:
    return ResampleRow(
        clip_id=clip_id,
        source="own",
        path="a.mp4",
        container="mp4",
        codec="h264",
        width=340,
        height=256,
        rotation=0,
        avg_fps=29.97,
        source_frames=300,
        time_base="1/15360",
        timeline=timeline,
        timeline_from="packets",
        clock="presentation",
        valid_frames=len(timeline),
    )


CONTRACT = {
    "download": "video_id start_s end_s official_split labels in_minikinetics200 url path bytes sha256",
    "trim": "path lead_in_s duration_s bytes",
    "resample": "container codec width height rotation avg_fps source_frames time_base timeline valid_frames",
    "resize": "path bytes sha256 valid_frames",
    "clips": "class_id class_name labels tinyvirat_labels official_split",
    "classes": "class_id class_name source member_labels clips",
    "gaps": "clip_id source class_name split reason detail",
    "splits": "class_id class_name split clips",
    "shards": "class_id class_name split official_split tinyvirat_labels valid_frames shard offset length",
}


@pytest.mark.parametrize("kind", ROW_TYPES, ids=lambda kind: kind.MANIFEST)
def test_manifests_have_the_columns_that_readers_rely_on(kind):
    per_clip = "clip_id source status error error_detail attempts" if issubclass(kind, ClipRow) else ""
    assert {*per_clip.split(), *CONTRACT[kind.MANIFEST].split()} <= set(schema(kind).names)


def test_schema_types_follow_field_types():
    types = {field.name: str(field.type) for field in schema(DownloadRow)}
    assert types["clip_id"] == "string"
    assert types["start_s"] == "double"
    assert types["labels"] == "list<item: string>"
    assert types["in_minikinetics200"] == "bool"
    assert types["rank"] == "int64"
    assert str(schema(ResampleRow).field("timeline").type) == "list<item: int64>"


def test_rows_come_back_sorted_typed_and_equal(here):
    failed = TrimRow.failed(trim_row("b"), ClipError(Failure.TOO_SHORT, "0.2 s"), key="f", attempts=2)
    manifests.write(TrimRow, [failed, trim_row("a", bytes=7)])
    assert manifests.read(TrimRow) == [trim_row("a", bytes=7), failed]
    assert (failed.status, failed.error, failed.error_detail, failed.attempts) == ("failed", "too_short", "0.2 s", 2)
    assert failed.path is None


def test_part_of_a_manifest_is_read_though_its_other_columns_are_of_another_version(here):
    manifests.write(TrimRow, [trim_row("a"), trim_row("b", bytes=4)])
    path = manifests.path_of(TrimRow)
    pq.write_table(pq.read_table(path).drop_columns(["lead_in_s"]).append_column("new", pa.array([1, 2])), path)
    Path("data/ledgers/trim.sha256").unlink()

    @dataclasses.dataclass(frozen=True)
    class Size:
        clip_id: str
        bytes: int

    @dataclasses.dataclass(frozen=True)
    class Start:
        lead_in_s: float

    assert manifests.read_part(TrimRow, Size) == [Size("a", 3), Size("b", 4)]
    with pytest.raises(WorkError, match=r"trim.parquet has no column lead_in_s as this version writes it"):
        manifests.read_part(TrimRow, Start)


def test_lists_come_back_as_tuples_and_null_lists_as_none(here):
    common = {"source": "own", "video_id": "v", "status": "failed", "error": "too_short"}
    rows = [
        CompositeRow(clip_id="a", labels=("one", "two"), tinyvirat_labels=("one", "two"), **common),
        CompositeRow(clip_id="b", labels=(), **common),
    ]
    manifests.write(CompositeRow, rows)
    assert manifests.read(CompositeRow) == rows


def test_find_returns_the_row_of_one_clip(here):
    manifests.write(TrimRow, [trim_row("a"), trim_row("b", bytes=9)])
    assert manifests.find(TrimRow, "b") == trim_row("b", bytes=9)
    assert manifests.find(TrimRow, "c") is None


def test_rows_in_any_order_give_the_same_bytes(here):
    rows = [resample_row(f"clip{n}", tuple(range(n + 1))) for n in range(50)]
    manifests.write(ResampleRow, rows)
    first = manifests.path_of(ResampleRow).read_bytes()
    manifests.write(ResampleRow, rows[::-1])
    assert manifests.path_of(ResampleRow).read_bytes() == first


def test_manifests_are_zstd_parquet_that_pyarrow_reads_without_our_code(here):
    manifests.write(ResampleRow, [resample_row("a", (1, 2, 3))])
    metadata = pq.ParquetFile("manifests/resample.parquet").metadata
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert pq.read_table("manifests/resample.parquet")["timeline"].to_pylist() == [[1, 2, 3]]


def test_an_empty_manifest_has_its_columns(here):
    manifests.write(TrimRow, [])
    assert manifests.read(TrimRow) == []
    assert pq.read_schema("manifests/trim.parquet").names == schema(TrimRow).names


def test_a_missing_manifest_is_a_work_error_that_names_the_command(here):
    assert not manifests.exists(TrimRow)
    with pytest.raises(WorkError, match=r"trim\.parquet is missing: run `dvc repro`"):
        manifests.read(TrimRow)


def test_a_file_that_is_not_parquet_is_a_work_error(here):
    Path("manifests").mkdir()
    Path("manifests/trim.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(WorkError, match=r"trim\.parquet cannot be read.*delete it"):
        manifests.read(TrimRow)


def test_manifest_that_has_changed_since_it_was_written_is_a_work_error(here):
    manifests.write(TrimRow, [trim_row("a")])
    table = pq.read_table("manifests/trim.parquet")
    pq.write_table(table, "manifests/trim.parquet")  # valid, and not what the stage wrote
    with pytest.raises(
        WorkError, match=r"trim\.parquet has changed since it was written: delete it and run `dvc repro`"
    ):
        manifests.read(TrimRow)
    manifests.write(TrimRow, [trim_row("a")])
    assert manifests.read(TrimRow) == [trim_row("a")]


def test_folder_in_place_of_a_manifest_is_a_work_error(here):
    Path("manifests/trim.parquet").mkdir(parents=True)
    with pytest.raises(WorkError, match=r"trim\.parquet is a folder: delete it"):
        manifests.read(TrimRow)
    with pytest.raises(WorkError, match=r"trim\.parquet is a folder: delete it"):
        manifests.write(TrimRow, [])


def test_columns_of_another_type_are_a_work_error(here):
    Path("manifests").mkdir()
    pq.write_table(pa.table({name: pa.array(["x"]) for name in schema(TrimRow).names}), "manifests/trim.parquet")
    with pytest.raises(WorkError, match=r"trim\.parquet has columns of other types"):
        manifests.read(TrimRow)


def test_columns_of_another_version_are_named(here):
    Path("manifests").mkdir()
    table = pa.table({name: pa.array([], pa.string()) for name in schema(TrimRow).names[1:]} | {"odd": []})
    pq.write_table(table, "manifests/trim.parquet")
    with pytest.raises(WorkError, match=r"trim\.parquet has other columns.*clip_id, odd.*dvc repro"):
        manifests.read(TrimRow)


def test_an_ok_row_without_its_result_is_rejected_in_code_and_in_a_file(here):
    with pytest.raises(ValueError, match="a is ok and has no path, bytes"):
        trim_row("a", path=None, bytes=None)
    manifests.write(TrimRow, [trim_row("a")])
    table = pq.read_table("manifests/trim.parquet")
    emptied = table.set_column(
        table.schema.get_field_index("path"), table.schema.field("path"), pa.array([None], "string")
    )
    pq.write_table(emptied, "manifests/trim.parquet")
    Path("data/ledgers/trim.sha256").unlink()
    with pytest.raises(WorkError, match=r"trim\.parquet is damaged \(a is ok and has no path\)"):
        manifests.read(TrimRow)


def test_a_failed_write_leaves_the_old_manifest(here):
    manifests.write(TrimRow, [trim_row("a")])
    before = manifests.path_of(TrimRow).read_bytes()
    with pytest.raises(pa.ArrowInvalid):
        manifests.write(TrimRow, [trim_row("a", bytes="many")])
    assert manifests.path_of(TrimRow).read_bytes() == before
    assert not list(Path("manifests").glob(".part-*"))


def test_carried_rows_keep_the_reason_and_drop_the_result():
    lost = dataclasses.replace(trim_row("a"), status="failed", error="decode_error", error_detail="at 3.2 s")
    carried = ResampleRow.carried(lost)
    assert (carried.clip_id, carried.error, carried.error_detail, carried.key) == ("a", "decode_error", "at 3.2 s", "k")
    assert carried.path is None


def test_failures_are_counted_by_code_most_frequent_first():
    def failed(clip_id, code):
        return TrimRow.failed(trim_row(clip_id), ClipError(code, "detail"))

    rows = [
        failed("a", Failure.TOO_SHORT),
        failed("b", Failure.TOO_SHORT),
        failed("c", Failure.DECODE_ERROR),
        trim_row("d"),
    ]
    assert list(manifests.count_failures(rows).items()) == [("too_short", 2), ("decode_error", 1)]


def test_class_manifests_are_sorted_by_class_id(here):
    rows = [
        ClassRow(class_id=n, class_name=f"c{n}", source="own", member_labels=(f"c{n}",), clips=1) for n in (2, 0, 1)
    ]
    manifests.write(ClassRow, rows)
    assert [row.class_id for row in manifests.read(ClassRow)] == [0, 1, 2]


def test_error_details_are_one_short_line():
    error = ClipError(Failure.DECODE_ERROR, "broken\n  here " + "x" * 1000)
    assert str(error).startswith("decode_error: broken here x")
    assert len(error.detail) == 500
