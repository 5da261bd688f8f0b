"""Credentials are removed from text; everything else stays."""

import pytest

from common.redact import redact, redact_params


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("http://user:secret@127.0.0.1:80/a.tar: 500", "http://127.0.0.1:80/a.tar: 500"),
        ("s3://key:se%2Fcret@bucket/a and http://u@host/b", "s3://bucket/a and http://host/b"),
        ("HTTPS://u:p@q@host/a", "HTTPS://host/a"),
        ("proxy user:secret@10.0.0.1:3128 is down", "proxy 10.0.0.1:3128 is down"),
        ("https://b.s3.aws/a.zip?X-Amz-Signature=ab&X-Amz-Expires=9#a.mp4", "https://b.s3.aws/a.zip#a.mp4"),
        ("'https://host/a?secret', later", "'https://host/a', later"),
        (
            "Max retries exceeded with url: /a.zip?token=ab&x=1 (Caused by b)",
            "Max retries exceeded with url: /a.zip (Caused by b)",
        ),
        ("https://www.youtube.com/watch?v=a-b_c&sig=12", "https://www.youtube.com/watch?v=a-b_c"),
        ("https://host/a#access_token=12", "https://host/a#access_token=***"),
        ("Signature=ab, password=cd", "Signature=***, password=***"),
    ],
)
def test_credentials_are_removed(text, redacted):
    assert redact(text) == redacted
    assert redact(redacted) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "https://host/@user/a.mp4#dir/who?.mp4",
        "clips/what is it?/a@b.mp4 has 3 frames: 2 are wanted",
        "the container is damaged: [mov,mp4 @ 0x55d0] moov atom not found",
        "C:/videos/a.mp4",
        "http://127.0.0.1:8000/a.tar: 500 Internal Server Error",
    ],
)
def test_other_text_is_unchanged(text):
    assert redact(text) == text


@pytest.mark.timeout(60)  # a pattern of quadratic time would take minutes
@pytest.mark.parametrize("part", ["a", "a:", "://", "?a", "token", "a:b@"])
def test_long_text_is_redacted(part):
    redact(part * 200_000)


def test_params_are_hidden_by_name_and_by_content():
    values = {"corpus": "http://u:p@h/m", "download": {"yt_dlp": {"proxy": "p", "cookiefile": None}, "n": [1, "a"]}}
    assert redact_params(values) == {
        "corpus": "http://h/m",
        "download": {"yt_dlp": {"proxy": "***", "cookiefile": None}, "n": [1, "a"]},
    }
