"""A file that is no video fails with the kind of file that it is."""

import gzip
import io
import tarfile
import zipfile

import cv2
import pytest

from pipeline.records.failures import ClipError
from pipeline.video.container import open_video
from pipeline.video.frames import read_frame_times
from pipeline.video.sniff import mp4_boxes, reason_unreadable
from tests.pipeline.draw import counter_picture, frame_times, run_ffmpeg, write_video

POINTER = (
    "version https://git-lfs.github.com/spec/v1\noid sha256:4665a5ea423c2713d436b5ee50593a9640e0018c1550b5a0\nsize 9\n"
)


def zip_bytes():
    """A zip archive with one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text" * 100)
    return file.getvalue()


def tar_bytes():
    """A tar archive with one member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    return file.getvalue()


KINDS = {
    "Git LFS pointer": POINTER.encode(),
    "PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(2000),
    "zip archive": zip_bytes(),
    "gzip archive": gzip.compress(b"text" * 1000),
    "tar archive": tar_bytes(),
    "JSON text": b'{"error": "not found", "code": 404}\n',
    "file is text": "Das Video ist verschwunden: «404»\n".encode() * 40,
    "playlist": b"#EXTM3U\n#EXTINF:10,\nhttp://example.org/0.ts\n",
    r"image \(HEIF or AVIF\)": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    r"index \(no moov box\)": b"\0\0\0\x14ftypisom\0\0\2\0isom" + (1008).to_bytes(4, "big") + b"mdat" + bytes(1000),
    r"segment of a streamed mp4": b"\0\0\0\x14stypmsdh\0\0\0\0msdh\0\0\0\x08moof\0\0\0\x0cmdat1234",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_named(here, kind):
    (here / "a.mp4").write_bytes(KINDS[kind])
    with pytest.raises(ClipError, match=rf"unreadable_container: .*{kind}"), open_video(here / "a.mp4"):
        pass


@pytest.mark.parametrize("kind", ["web page", "noise", "mp4 cut off before its index"])
def test_ffmpegs_message_stands_for_kinds_that_recorded_manifests_have(here, kind):
    path = here / "a.mp4"
    if kind == "web page":
        path.write_bytes(b"<!DOCTYPE html><html><body>Gone.</body></html>\n")
    elif kind == "noise":
        path.write_bytes(bytes(number * number % 251 for number in range(20_000)))
    else:
        video = write_video(path, frame_times(20, 10)).read_bytes()
        assert video.index(b"mdat") < video.index(b"moov")
        path.write_bytes(video[: len(video) // 2])
    with pytest.raises(ClipError) as caught, open_video(path):
        pass
    assert str(caught.value) == "unreadable_container: Invalid data found when processing input"


def test_text_is_not_rendered_as_video(here):
    (here / "a.txt").write_text("a licence\n" * 100)
    with pytest.raises(ClipError, match="unreadable_container: the file is text"), open_video(here / "a.txt"):
        pass


def test_text_that_is_cut_within_a_character_is_still_text():
    head = b"a" + "é".encode() * 40_000  # 64 KiB end within a character
    assert reason_unreadable(io.BytesIO(head)) == "the file is text"


def test_a_box_beyond_the_end_of_the_file_is_an_error():
    with pytest.raises(ValueError, match="the box at byte 8 reaches beyond byte 16"):
        list(mp4_boxes(io.BytesIO(b"\0\0\0\x08free\0\0\0\x20mdat")))


def test_a_still_image_is_no_video(here):
    path = here / "a.png"
    cv2.imwrite(str(path), counter_picture(5))
    with pytest.raises(ClipError, match=r"no_video_stream: the file is a still image \(png\)"):
        read_frame_times(path)


def test_images_one_after_the_other_are_a_video(here):
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=1", here / "a.mjpeg")
    assert len(read_frame_times(here / "a.mjpeg").pts) == 25


def test_an_unknown_codec_is_named_by_its_tag(here):
    video = write_video(here / "a.mp4", frame_times(20, 10))
    path = here / "unknown.mp4"
    path.write_bytes(video.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(ClipError, match=r"decode_error: no decoder for the video stream \(zzzz\)"), open_video(path):
        pass
