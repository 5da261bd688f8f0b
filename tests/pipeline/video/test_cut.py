"""A clip cut by stream copy shows the same frames at the same times as its source."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import TrimRow
from pipeline.resample import resample
from pipeline.resize import resize
from pipeline.video import cut, frames
from pipeline.video.container import open_video
from tests.pipeline.draw import (
    LOSSLESS,
    RESAMPLE,
    expected_counters,
    frame_times,
    process_clip,
    read_counter,
    run_ffmpeg,
    write_video,
)

LONG_VIDEOS = {  # suffix, codec, B-frames, frames from keyframe to keyframe
    "mp4, B-frames, short groups": ("mp4", "libx264", 2, 12),
    "mp4, B-frames, one group": ("mp4", "libx264", 3, 400),
    "mp4, no B-frames": ("mp4", "libx264", 0, 30),
    "mkv, B-frames": ("mkv", "libx264", 2, 30),
    "avi, mpeg4": ("avi", "mpeg4", 0, 12),
    "webm, vp9": ("webm", "libvpx-vp9", 0, 40),
    "mov, hevc": ("mov", "libx265", 2, 48),
    "mpeg transport stream": ("ts", "libx264", 2, 25),
}


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory):
    """Videos of twelve seconds at 25 frames per second."""
    folder = tmp_path_factory.mktemp("long")
    times = frame_times(300, 25)
    return {
        name: write_video(folder / f"{number}.{suffix}", times, codec=codec, b_frames=b_frames, gop=gop)
        for number, (name, (suffix, codec, b_frames, gop)) in enumerate(LONG_VIDEOS.items())
    }


@pytest.mark.parametrize("start_s", [0.0, 0.48, 1.0, 3.7, 7.333])
@pytest.mark.parametrize("kind", LONG_VIDEOS)
def test_the_filmstrip_of_a_cut_equals_that_of_the_same_window_of_its_source(here, long_videos, kind, start_s):
    source = long_videos[kind]
    clip = process_clip(source, start_s=start_s, end_s=start_s + 4.0, resize_settings=LOSSLESS)
    window = TrimRow(
        clip_id="window", source="own", path=str(source), lead_in_s=start_s, duration_s=4.0, bytes=source.stat().st_size
    )
    uncut = resize(resample(window, RESAMPLE), LOSSLESS)
    assert Path(clip.resize.path).read_bytes() == Path(uncut.path).read_bytes()
    assert clip.counters == expected_counters(frame_times(300, 25), 40, start=Fraction(str(start_s)))
    assert clip.resize.valid_frames == clip.resample.valid_frames == 40
    assert clip.trim.duration_s == pytest.approx(4.0)


@pytest.mark.parametrize("kind", LONG_VIDEOS)
def test_lead_in_is_the_time_from_the_first_frame_of_the_copy(here, long_videos, kind):
    trimmed = process_clip(long_videos[kind], start_s=5.21, end_s=8.0).trim
    with av.open(trimmed.path) as container:
        first = next(container.decode(video=0))
    number = read_counter(first.to_ndarray(format="rgb24"))
    assert trimmed.lead_in_s == pytest.approx(5.21 - number / 25, abs=2e-3 if "mkv" in kind else 1e-6)
    assert number / 25 <= 5.21


def test_a_cut_is_smaller_than_its_source(here, long_videos):
    source = long_videos["mp4, B-frames, short groups"]
    trimmed = process_clip(source, start_s=5.0, end_s=7.0).trim
    assert trimmed.bytes == Path(trimmed.path).stat().st_size < 0.5 * source.stat().st_size
    assert trimmed.path.startswith("data/trimmed/own/")


def test_a_cut_has_no_audio(here):
    video = write_video(here / "a.mp4", frame_times(100, 25))
    sound = ["-f", "lavfi", "-i", "anullsrc=r=44100:cl=mono", "-shortest", "-c:v", "copy", "-c:a", "aac"]
    run_ffmpeg("-i", video, *sound, here / "sound.mp4")
    trimmed = process_clip(here / "sound.mp4", start_s=1.0, end_s=3.0).trim
    with av.open(str(here / "sound.mp4")) as source, av.open(trimmed.path) as copy:
        assert [stream.type for stream in source.streams] == ["video", "audio"]
        assert [stream.type for stream in copy.streams] == ["video"]


def test_a_clip_cut_by_its_publisher_is_not_copied(here):
    path = write_video(here / "a.mp4", frame_times(50, 25))
    trimmed = process_clip(path).trim
    assert trimmed.path == str(path)
    assert trimmed.lead_in_s == 0
    assert trimmed.duration_s == pytest.approx(2.0)
    assert not (here / "data/trimmed").exists()


def test_a_window_that_ends_after_the_video_is_clamped(here, long_videos):
    clip = process_clip(long_videos["mp4, B-frames, short groups"], start_s=10.0, end_s=20.0)
    assert clip.trim.duration_s == pytest.approx(2.0)
    assert clip.counters == expected_counters(frame_times(300, 25), 20, start=Fraction(10))


@pytest.mark.parametrize("start_s", [12.0, 12.5, 1e6])
def test_a_window_that_starts_after_the_video_is_too_short(here, long_videos, start_s):
    with pytest.raises(ClipError, match=r"too_short: the video is 12\.00 s long") as caught:
        process_clip(long_videos["mp4, B-frames, short groups"], start_s=start_s, end_s=start_s + 3)
    assert caught.value.code is Failure.TOO_SHORT


def test_a_copy_that_lacks_frames_is_made_again_without_reading_the_source_again(here, monkeypatch):
    source = write_video(here / "a.mp4", frame_times(150, 25))
    # The first two copies read only 0.1 s of the source.
    script = here / "ffmpeg.sh"
    script.write_text(
        f'#!/bin/sh\necho >> "{here}/copies"\n'
        f'[ $(wc -l < "{here}/copies") -gt 2 ] || set -- -t 0.1 "$@"\n'
        f'exec "{cut.ffmpeg_binary()}" "$@"\n'
    )
    script.chmod(0o755)
    opened = []

    def recorded(path):
        opened.append(Path(path))
        return open_video(path)

    monkeypatch.setattr(cut, "ffmpeg_binary", lambda: str(script))
    for module in (cut, frames):
        monkeypatch.setattr(module, "open_video", recorded)
    made = cut.cut(source, here / "cut.mp4", 3.0, 5.0, margin_s=1.0)
    assert len((here / "copies").read_text().splitlines()) == 3
    assert opened.count(source) == 2
    assert (made.path, made.duration_s) == (here / "cut.mp4", 2.0)


def test_a_window_of_an_elementary_stream_is_read_from_its_source(here):
    video = write_video(here / "a.mp4", frame_times(100, 25))
    path = here / "a.h264"
    run_ffmpeg("-i", video, "-c", "copy", "-f", "h264", path)
    clip = process_clip(path, start_s=1.0, end_s=3.0)
    assert (clip.trim.path, clip.trim.lead_in_s) == (str(path), 1.0)
    assert clip.counters == expected_counters(frame_times(100, 25), 20, start=Fraction(1))


@pytest.mark.parametrize("suffix", ["webm", "clip"], ids=["webm cannot hold h264", "unknown suffix"])
def test_a_codec_that_the_container_cannot_hold_is_cut_into_matroska(here, suffix):
    path = write_video(here / "a.mp4", frame_times(100, 25)).rename(here / f"a.{suffix}")
    clip = process_clip(path, start_s=1.0, end_s=3.0)
    assert clip.trim.path == "data/trimmed/own/clip.mkv"
    assert clip.counters == expected_counters(frame_times(100, 25), 20, start=Fraction(1))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("start_s", [1.48, 1.9, 2.5])
def test_a_cut_in_an_open_group_of_pictures_shows_the_right_frames(here, start_s, suffix):
    """Frames shown before an open group's first keyframe refer to the group before, which the copy lacks."""
    options = {"x264-params": "threads=1:open-gop=1:b-pyramid=none:scenecut=0"}
    path = write_video(here / f"a.{suffix}", frame_times(150, 25), gop=27, b_frames=3, options=options)
    clip = process_clip(path, start_s=start_s, end_s=start_s + 2)
    assert clip.counters == expected_counters(frame_times(150, 25), 20, start=Fraction(str(start_s)))
    with av.open(clip.trim.path) as container:
        pts = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert min(pts) < pts[0]
    assert frames.read_frame_times(clip.trim.path, trust_packets=True).pts[0] == pts[0]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mkv", "libx264"), ("webm", "libvpx-vp9"), ("mp4", "libx264"), ("avi", "mpeg4"), ("ts", "libx264")],
)
def test_two_cuts_of_one_clip_have_equal_bytes(here, suffix, codec):
    source = write_video(here / f"a.{suffix}", frame_times(60, 10), codec=codec, b_frames=0)
    copies = [cut.cut(source, here / f"{number}.{suffix}", 1.0, 3.0, 1.0).path for number in range(2)]
    assert copies == [here / f"0.{suffix}", here / f"1.{suffix}"]
    assert copies[0].read_bytes() == copies[1].read_bytes()


@pytest.mark.parametrize(("suffix", "codec"), [("ogv", "libtheora"), ("mxf", "mpeg2video")])
def test_two_cuts_in_containers_with_random_ids_have_equal_bytes(here, suffix, codec):
    source, size = here / f"a.{suffix}", "720x576" if suffix == "mxf" else "128x96"
    run_ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}:r=25:d=4", "-c:v", codec, "-pix_fmt", "yuv420p", source)
    copies = [cut.cut(source, here / f"{number}.{suffix}", 1.0, 3.0, 1.0).path for number in range(2)]
    assert copies[0].read_bytes() == copies[1].read_bytes()
    assert copies[0] != copies[1]
