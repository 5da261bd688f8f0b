"""yt-dlp's errors as failure codes; downloads themselves are tested in tests/pipeline/sources/test_youtube.py."""

import pytest
import yt_dlp
from yt_dlp.networking.exceptions import HTTPError

from pipeline.fetch import youtube
from pipeline.records.failures import ClipError
from tests.pipeline.draw import frame_times, write_video
from tests.pipeline.host import serving


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("ERROR: [youtube] x: Sign in to confirm you're not a bot", "rate_limited"),
        ("ERROR: [youtube] x: Video unavailable", "not_found"),
        ("ERROR: [youtube] x: Sign in to confirm your age", "not_found"),
        ("ERROR: Unable to download webpage: the read operation timed out", "timeout"),
        ("ERROR: Unable to download webpage: connection refused", "connection"),
    ],
)
def test_error_message_decides_the_failure_code(message, code):
    assert youtube._to_clip_error("url", yt_dlp.utils.DownloadError(message)).code == code


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "forbidden"), (404, "not_found"), (429, "rate_limited"), (503, "rate_limited"), (500, "connection")],
)
def test_http_status_decides_before_the_message(status, code):
    cause = HTTPError.__new__(HTTPError)
    cause.status = status
    error = yt_dlp.utils.DownloadError("ERROR: Video unavailable", (HTTPError, cause, None))
    assert youtube._to_clip_error("url", error).code == code


def test_section_over_the_size_limit_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(youtube, "SIZE_LIMIT", 1000)
    video = write_video(tmp_path / "video.mp4", frame_times(50, 10)).read_bytes()
    with serving(**{"video.mp4": video}) as host:
        section = youtube.Section(f"{host.url}/video.mp4", 0.0, 2.0, str(tmp_path / "raw/clip"), 240, 5.0, {})
        with pytest.raises(ClipError, match="too_large"):
            youtube.download(section)
    assert not list((tmp_path / "raw").iterdir())


@pytest.mark.parametrize("cookies", ["none", "not a cookie file"])
def test_error_names_no_credentials(tmp_path, cookies):
    cookie_file = tmp_path / "cookies-hunter2.txt"
    if cookies != "none":
        cookie_file.write_text(cookies)
    options = {
        "proxy": "http://user:hunter2@127.0.0.1:9",
        "cookiefile": None if cookies == "none" else str(cookie_file),
    }
    section = youtube.Section("http://user:hunter2@127.0.0.1:9/a.mp4", 0.0, 1.0, str(tmp_path / "a"), 64, 2.0, options)
    with pytest.raises(ClipError) as caught:
        youtube.download(section)
    assert "127.0.0.1:9/a.mp4" in caught.value.detail
    assert "hunter2" not in repr(caught.value) + str(caught.value)
