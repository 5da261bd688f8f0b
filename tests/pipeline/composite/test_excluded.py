"""manifests/excluded.csv: clips that a person has excluded are lost in merge, for the reason given there."""

from dataclasses import replace

import pytest

from common.errors import WorkError
from pipeline.composite.excluded import Exclusion, exclude, read_excluded, stand_ins, unknown
from pipeline.records.rows import ResizeRow
from tests.conftest import REPO

ROW = ResizeRow(
    clip_id="a",
    source="own",
    key="k",
    path="a.jpg",
    bytes=9,
    sha256="x" * 64,
    valid_frames=20,
    motion=0.1,
    sharpness=0.1,
    brightness=0.5,
)


def read(tmp_path, text):
    (tmp_path / "excluded.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_excluded(tmp_path / "excluded.csv")


def test_reasons_and_lines_are_read_by_clip_id(tmp_path):
    text = '\ufeffclip_id,reason\r\nk400-a_b,asked for by its author\r\n\r\nb,"wrong, twice\nover"\r\nc,x\r\n'
    assert read(tmp_path, text) == {
        "k400-a_b": Exclusion(2, "asked for by its author"),
        "b": Exclusion(4, "wrong, twice\nover"),
        "c": Exclusion(6, "x"),
    }


@pytest.mark.parametrize("text", [None, "clip_id,reason\n", "clip_id,reason"])
def test_no_file_and_no_lines_exclude_nothing(tmp_path, text):
    assert (read_excluded(tmp_path / "excluded.csv") if text is None else read(tmp_path, text)) == {}


def test_committed_list_is_empty():
    assert read_excluded(REPO / "manifests/excluded.csv") == {}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "its first line must be clip_id,reason"),
        ("a,b\n", "its first line must be clip_id,reason"),
        ("clip_id,reason\na\n", "line 2: must be a clip_id and a reason"),
        ("clip_id,reason\na, \n", "line 2: must be a clip_id and a reason"),
        ("clip_id,reason\n\na,b,c\n", "line 3: must be a clip_id and a reason, in quotes if it has commas"),
        ("clip_id,reason\na,b\n../c,d\n", "line 3: must be a clip_id and a reason"),
        ("clip_id,reason\na,b\nb,c\na,c\n", "line 4: a is excluded by line 2 already"),
        ('clip_id,reason\na,"b\n', "line 2: not CSV in UTF-8: unexpected end of data"),
        (b"clip_id,reason\na,\xff\n", "line 1: not CSV in UTF-8"),
    ],
)
def test_malformed_file_is_an_error_that_names_the_line(tmp_path, text, error):
    with pytest.raises(WorkError, match=error) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_folder_in_its_place_is_an_error(tmp_path):
    (tmp_path / "excluded.csv").mkdir()
    with pytest.raises(WorkError, match=r"excluded\.csv cannot be read: Is a directory"):
        read_excluded(tmp_path / "excluded.csv")


def test_excluded_clips_fail_for_the_given_reason_without_a_filmstrip():
    spare, other = replace(ROW, clip_id="b", status="spare"), replace(ROW, clip_id="c")
    exclusion = Exclusion(2, "asked\nfor")
    rows = exclude([ROW, spare, other], {"a": exclusion, "b": exclusion, "z": exclusion})
    assert rows[2] == other
    for row, before in zip(rows[:2], (ROW, spare), strict=True):
        assert (row.clip_id, row.status, row.error, row.error_detail) == (
            before.clip_id,
            "failed",
            "excluded",
            "asked for",
        )
        assert (row.path, row.sha256, row.key) == (None, None, "k")


def test_an_excluded_clip_that_failed_before_keeps_its_error():
    failed = ResizeRow(clip_id="a", source="own", status="failed", error="decode_error", error_detail="x")
    assert exclude([failed], {"a": Exclusion(2, "asked for")}) == [failed]


def test_clips_that_no_source_has_are_named():
    excluded = {"a": Exclusion(2, "x"), "z": Exclusion(3, "x"), "y": Exclusion(4, "x")}
    assert unknown(excluded, {"a", "y", "z"}) is None
    warning = "warning: manifests/excluded.csv, line 3: no source has a clip z"
    assert unknown(excluded, {"a", "y"}) == warning
    assert unknown(excluded, {"a"}) == f"{warning} (and 1 more)"


def test_clips_with_the_pictures_of_an_excluded_one_are_found():
    rows = [ROW, replace(ROW, clip_id="b"), replace(ROW, clip_id="c", sha256="y" * 64), replace(ROW, clip_id="d")]
    assert stand_ins(rows, {"a": Exclusion(2, "x")}, kept=["b", "c"]) == [("b", "a")]
