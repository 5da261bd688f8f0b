"""Streams with unusual codecs, headers or damage are shown as FFmpeg shows them, or fail with a code and a reason."""

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.records.failures import ClipError, Failure
from pipeline.video.container import open_video
from pipeline.video.decode import BestTime, timed_frames
from pipeline.video.frames import _COARSE, _COARSE_CODECS, read_frame_times
from tests.pipeline.draw import (
    LOSSLESS,
    counter_picture,
    expected_counters,
    frame_times,
    process_clip,
    run_ffmpeg,
    write_video,
)
from tests.pipeline.reference import difference_from_ffmpeg

TEST_SOURCE = "testsrc2=size=176x144:rate=30:duration=2"

COARSE = {  # codec: output options and suffix
    "mpeg1video": (["-c:v", "mpeg1video", "-bf", "2"], "mkv"),
    "mpeg2video": (["-c:v", "mpeg2video", "-bf", "2"], "mkv"),
    "mpeg4": (["-c:v", "mpeg4", "-bf", "2"], "avi"),
    "msmpeg4v2": (["-c:v", "msmpeg4v2"], "avi"),
    "msmpeg4v3": (["-c:v", "msmpeg4"], "avi"),
    "h263": (["-c:v", "h263"], "mkv"),
    "flv1": (["-c:v", "flv"], "flv"),
    "wmv1": (["-c:v", "wmv1"], "wmv"),
    "wmv2": (["-c:v", "wmv2"], "wmv"),
    "mjpeg": (["-c:v", "mjpeg"], "avi"),
    "h264": (["-c:v", "libx264", "-bf", "2"], "mkv"),
    "hevc": (["-c:v", "libx265", "-x265-params", "log-level=none"], "mkv"),
}


def encode(path, *options, source=TEST_SOURCE):
    """Encode FFmpeg's test pattern."""
    run_ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def odd_file(name):
    """The path of a file below the folder ODD_FILES; skips the test if it is absent."""
    folder = os.environ.get("ODD_FILES")
    found = Path(folder).rglob(name) if folder else ()
    path = max(found, key=lambda path: path.stat().st_size, default=None)  # not a pointer to a file that is elsewhere
    if path is None:
        pytest.skip(f"{name} is not below the folder that the environment variable ODD_FILES names")
    return path


def frames_of(path, options):
    """Times of all frames, decoded with further decoder options."""
    with open_video(path) as (container, stream):
        stream.codec_context.options = {**stream.codec_context.options, **options}
        return [time for time, _ in timed_frames(container, stream, "presentation")]


def test_every_coarsely_decoded_codec_is_tested():
    assert set(COARSE) == _COARSE_CODECS


@pytest.mark.parametrize("codec", COARSE)
def test_coarse_decoding_outputs_the_same_frames_at_the_same_times(here, codec):
    options, suffix = COARSE[codec]
    path = encode(here / f"a.{suffix}", *options)
    with open_video(path) as (_, stream):
        assert stream.codec_context.codec.canonical_name == codec
    times = frames_of(path, _COARSE)
    assert len(times) >= 59
    assert times == frames_of(path, {})


@pytest.mark.parametrize(("codec", "suffix"), [("flashsv", "nut"), ("zmbv", "avi"), ("cinepak", "avi"), ("rv20", "rm")])
def test_codecs_without_a_coarse_decoder_are_timed_by_decoding_in_full(here, codec, suffix):
    path = encode(here / f"a.{suffix}", "-c:v", codec, source="testsrc2=size=96x64:rate=30:duration=1")
    assert process_clip(path).resample.timeline_from == "frames"
    assert difference_from_ffmpeg(path) <= 1.5


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("h264", ["-c:v", "libx264", "-bf", "2", "-bsf:v", "h264_metadata=tick_rate=60"]),
        ("hevc", ["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("vvc", ["-c:v", "libvvenc", "-preset", "faster"]),
        ("m1v", ["-c:v", "mpeg1video", "-bf", "2"]),
        ("m2v", ["-c:v", "mpeg2video", "-bf", "2"]),
        ("drc", ["-c:v", "vc2"]),
    ],
)
def test_an_elementary_stream_plays_at_the_rate_in_its_own_headers(here, suffix, options):
    path = encode(here / f"a.{suffix}", *options)
    clip = process_clip(path)
    assert clip.trim.duration_s == pytest.approx(2)
    assert clip.resize.valid_frames == 20
    assert difference_from_ffmpeg(path) <= 2


def test_vvc_whose_first_packet_is_not_shown_first_keeps_its_whole_length(here):
    path = encode(here / "a.mp4", "-c:v", "libvvenc", "-preset", "faster")
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert times[0] > min(times)
    assert float(read_frame_times(path, trust_packets=True).duration) == pytest.approx(2)
    assert difference_from_ffmpeg(path) <= 2


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p"])
def test_the_identity_matrix_is_ignored_where_chroma_is_subsampled(here, pixel_format):
    plain = encode(here / "plain.mp4", "-c:v", "libx264", "-pix_fmt", pixel_format)
    path = here / "identity.mp4"
    run_ffmpeg("-i", plain, "-c", "copy", "-bsf:v", "h264_metadata=matrix_coefficients=0", path)
    with open_video(path) as (container, stream):
        assert int(next(container.decode(stream)).colorspace) == 0
    pictures = [process_clip(each, resize_settings=LOSSLESS, clip_id=each.stem).filmstrip for each in (plain, path)]
    assert np.array_equal(*pictures)


def test_h264_in_asf_is_timed_by_the_order_of_its_frames(here):
    video = write_video(here / "a.mp4", frame_times(75, 25), b_frames=3)
    path = here / "a.asf"
    run_ffmpeg("-i", video, "-c", "copy", path)
    clip = process_clip(path)
    assert (clip.resample.timeline_from, clip.resample.clock) == ("frames", "order")
    assert clip.counters == expected_counters(frame_times(75, 25))


@pytest.mark.parametrize("pixel_format", ["ya8", "ya16be"])
def test_gray_with_transparency_looks_as_in_ffmpeg(here, pixel_format):
    path = encode(here / "a.mkv", "-c:v", "png", "-pix_fmt", pixel_format)
    assert difference_from_ffmpeg(path) <= 1.5


def test_side_data_of_a_kind_that_pyav_does_not_know_is_no_failure(here):
    """Frames of JPEG files with EXIF data, in Matroska."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\x04\0\0\0abc\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = here / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        for number in range(20):
            image = cv2.imencode(".jpg", counter_picture(number))[1].tobytes()
            packet = av.Packet(image[:2] + segment + image[2:])
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 10), stream, True
            output.mux(packet)
    with open_video(path) as (container, stream):
        frame = next(container.decode(stream))
        with pytest.raises(ValueError, match="not a valid Type"):
            assert frame.side_data
    assert process_clip(path).counters == list(range(20))


def test_a_display_matrix_of_zeros_turns_nothing(here):
    path = write_video(here / "a.mp4", frame_times(20, 10))
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes from the version to the matrix
    assert data[matrix : matrix + 4] == (1 << 16).to_bytes(4, "big")
    data[matrix : matrix + 36] = bytes(36)
    path.write_bytes(data)
    clip = process_clip(path)
    assert clip.resample.rotation == 0
    assert clip.counters == list(range(20))


def test_of_frames_at_the_same_time_the_last_is_shown(here):
    video = write_video(here / "a.mkv", frame_times(40, 20), b_frames=0)
    path = here / "pairs.mkv"
    with av.open(str(video)) as opened, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(opened.streams.video[0])
        for number, packet in enumerate(packet for packet in opened.demux(video=0) if packet.size):
            packet.pts = packet.dts = number // 2 * 100
            packet.stream = stream
            output.mux(packet)
    clip = process_clip(path)
    assert clip.resample.timeline_from == "frames"
    assert clip.counters == [2 * tick + 1 for tick in range(20)]


def test_a_frame_is_timed_by_pts_unless_pts_jump_back_more_often_than_dts():
    best = BestTime()
    assert [best(pts, pts - 1) for pts in (1, 2, 3)] == [1, 2, 3]
    best = BestTime()
    copied = [(0, 0), (0, 1), (2, 2), (2, 3), (4, 4)]
    assert [best(pts, dts) for pts, dts in copied] == [0, 1, 2, 3, 4]
    best = BestTime()
    assert [best(None, 5), best(7, None), best(None, None)] == [5, 7, None]


def test_the_size_of_vp8_frames_may_change(here):
    path = here / "a.mkv"
    sizes = [(128, 96), (320, 180), (64, 48)]
    videos = []
    for number, size in enumerate(sizes):
        video = write_video(here / f"{number}.mp4", frame_times(10, 10), size=size)
        run_ffmpeg("-i", video, "-c:v", "libvpx", "-b:v", "500k", here / f"{number}.mkv")
        videos.append(here / f"{number}.mkv")
    with av.open(str(path), "w") as output, av.open(str(videos[0])) as first:
        stream = output.add_stream_from_template(first.streams.video[0])
        for number, video in enumerate(videos):
            with av.open(str(video)) as opened:
                for packet in opened.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = packet.pts + 1000 * number
                        packet.stream = stream
                        output.mux(packet)
    assert process_clip(path).counters == [*range(10)] * 3


# Files that cannot be synthesised


def test_multi_view_hevc_shows_its_first_view(here):
    assert difference_from_ffmpeg(odd_file("multiview*")) <= 2


def test_a_windows_media_file_with_drm_fails_as_encrypted(here):
    with pytest.raises(ClipError, match="encrypted") as caught:
        process_clip(odd_file("wmv_drm*"))
    assert caught.value.code is Failure.DECODE_ERROR


def test_cavs_in_a_program_stream_is_timed_by_the_decoding_timestamps(here):
    assert difference_from_ffmpeg(odd_file("cavs.mp*")) <= 2


def test_packets_that_hold_no_frame_do_not_shift_later_frames(here):
    """A screen recording in AVI, in which a packet without a change gives no frame."""
    assert difference_from_ffmpeg(odd_file("oneminute.avi")) <= 2
