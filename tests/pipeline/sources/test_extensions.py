"""Which files count as videos by their names, the same on every host."""

import mimetypes

import av
import pytest

from pipeline.sources.extensions import VIDEO, extension, kinds_text, other_kind

VIDEOS = "3gp 3g2 ts mts m2ts asf mxf rm ogg ogv flv wmv vob gif webp y4m ivf mp4 MOV mkv avi webm mpg h264 hevc obu"
OTHERS = "txt json md jpg png wav mp3 m4a srt csv xml npy py zip part ytdl blob"


@pytest.mark.parametrize("name", VIDEOS.split())
def test_extension_of_videos_is_a_video(name: str):
    assert other_kind(f"class/clip.{name}") is None


@pytest.mark.parametrize("name", OTHERS.split())
def test_sidecars_sound_and_pictures_are_not_videos(name: str):
    assert other_kind(f"class/clip.{name}") == f".{name}"


def test_video_extensions_that_ffmpeg_registers_are_in_the_set():
    """Those of demuxers whose formats always have video."""
    for name in ("avi", "ivf", "h264", "hevc", "vvc", "gif", "yuv4mpegpipe", "gxf", "mxf", "flv", "nut", "dv"):
        assert av.ContainerFormat(name, "r").extensions <= VIDEO, name


def test_types_of_the_host_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    before = [other_kind(f"class/clip.{name}") for name in ("ts", "3gp", "txt")]
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_, **__: ("text/plain", None))
    assert [other_kind(f"class/clip.{name}") for name in ("ts", "3gp", "txt")] == before == [None, None, ".txt"]


@pytest.mark.parametrize("name", ["clip", "Dr. No", "take 2.5", "walk_0.33", "clip.", "2024-01-01T10.30"])
def test_file_without_extension_counts_as_video_in_a_class_folder_only(name: str):
    assert extension(name) == ""
    assert other_kind(f"class/{name}") is None
    assert other_kind(name) == "no extension"


@pytest.mark.parametrize("path", [".DS_Store", "class/._clip.mp4", ".git/objects/clip.mp4", "class/.thumbs/a.mp4"])
def test_files_that_are_hidden_or_in_hidden_folders_are_not_videos(path: str):
    assert other_kind(path) == "hidden"


def test_kinds_are_listed_by_number_and_the_rest_summed_up():
    counts = {".txt": 9, ".md": 2, ".json": 3, ".a": 1, ".b": 1}
    assert kinds_text(counts, limit=3) == "9 .txt, 3 .json, 2 .md, 2 of 2 other kinds"
    assert kinds_text(counts | {".txt": 12345}, limit=9) == "12,345 .txt, 3 .json, 2 .md, 1 .a, 1 .b"
