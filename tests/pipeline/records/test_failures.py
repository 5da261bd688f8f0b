"""The detail of a failure is one bounded, printable line of valid UTF-8."""

import os

import pytest

from pipeline.records.failures import ClipError, Failure


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("two\nlines\t and\r\nspaces", "two lines and spaces"),
        ("red \x1b[31m bell \a", r"red \x1b[31m bell \x07"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\udce9.mp4"),
        ("日本 \u200d é", "日本 \u200d é"),
        ("x" * 600, "x" * 500),
    ],
)
def test_detail_is_one_line_without_control_characters(text: str, detail: str):
    error = ClipError(Failure.DECODE_ERROR, text)
    assert error.detail == detail
    assert error.detail.encode()
