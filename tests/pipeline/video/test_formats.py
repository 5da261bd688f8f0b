"""Pixel formats, colour matrices and stream structures: the filmstrip looks as FFmpeg shows the video."""

from fractions import Fraction

import av
import pytest

from pipeline.video.container import open_video
from tests.pipeline.draw import frame_times, process_clip, run_ffmpeg, write_video
from tests.pipeline.reference import difference_from_ffmpeg

TEST_SOURCE = "testsrc2=size=176x120:rate=10:duration=2"


def encode_test_source(path, *options, source=TEST_SOURCE):
    """Encode FFmpeg's test pattern with the given output options."""
    run_ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


FFV1 = ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuva420p", "yuv420p9le", "yuv422p10le"]
FFV1 += ["yuv420p12le", "yuv444p14le", "yuv420p16le", "gray", "gray10le", "gray12le", "gray16le"]
FFV1 += ["bgr0", "gbrp10le", "gbrp12le", "rgb48le"]
RAW = ["nv12", "nv21", "nv16", "nv24", "p010le", "p012le", "p210le", "yuyv422", "uyvy422", "rgb24", "bgra", "rgb565le"]
RAW += ["yuv420p10be", "gray16be", "monob"]


@pytest.mark.parametrize("pixel_format", FFV1)
def test_every_pixel_format_of_ffv1_looks_as_in_ffmpeg(here, pixel_format):
    path = encode_test_source(here / "a.mkv", "-c:v", "ffv1", "-pix_fmt", pixel_format)
    assert difference_from_ffmpeg(path) <= 1.5


@pytest.mark.parametrize("pixel_format", RAW)
def test_every_pixel_format_of_raw_video_looks_as_in_ffmpeg(here, pixel_format):
    path = encode_test_source(here / "a.nut", "-c:v", "rawvideo", "-pix_fmt", pixel_format)
    assert difference_from_ffmpeg(path) <= 1.5


def test_a_palette_looks_as_in_ffmpeg(here):
    assert difference_from_ffmpeg(encode_test_source(here / "a.gif")) <= 1.5


COLOR_SPACES = {"bt470bg": 5, "smpte170m": 6, "bt709": 1, "smpte240m": 7, "bt2020nc": 9, "fcc": 4}  # AVColorSpace


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p10le", "yuv420p12le"])
@pytest.mark.parametrize("color_range", ["tv", "pc"])
@pytest.mark.parametrize("color_space", COLOR_SPACES)
def test_every_matrix_range_and_depth_looks_as_in_ffmpeg(here, color_space, color_range, pixel_format):
    convert = f"scale=out_color_matrix={color_space}:out_range={color_range},format={pixel_format}"
    tags = ["-colorspace", color_space, "-color_range", color_range]
    codec = ["-c:v", "libx265", "-x265-params", "log-level=none:qp=4"]
    path = encode_test_source(here / "a.mp4", "-vf", convert, *tags, *codec)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert int(frame.colorspace) in (COLOR_SPACES[color_space], 6 if color_space == "bt470bg" else -1)
        assert int(frame.color_range) == (2 if color_range == "pc" else 1)
    assert difference_from_ffmpeg(path) <= 2


def test_cropping_by_the_stream_is_applied(here):
    whole = encode_test_source(here / "whole.mp4", "-c:v", "libx264", "-crf", "10")
    path = here / "cropped.mp4"
    crop = "h264_metadata=crop_left=16:crop_right=8:crop_top=32:crop_bottom=4"
    run_ffmpeg("-i", whole, "-c", "copy", "-bsf:v", crop, path)
    with open_video(path) as (container, stream):
        frame = next(container.decode(stream))
        assert (frame.width, frame.height) == (152, 92)
    assert difference_from_ffmpeg(path, options=["-flags", "unaligned"]) <= 1.5


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_interlaced_video_is_timed_by_decoding_and_looks_as_in_ffmpeg(here, codec, suffix):
    fields = ["-x264-params", "tff=1"] if codec == "libx264" else ["-flags", "+ildct+ilme"]
    options = ["-c:v", codec, *fields, "-b:v", "4M"]
    path = encode_test_source(here / f"a.{suffix}", *options, source=TEST_SOURCE.replace("rate=10", "rate=25"))
    assert difference_from_ffmpeg(path) <= 1.5
    assert process_clip(path).resample.timeline_from == "frames"


def test_a_frame_size_that_changes_in_mid_stream_is_resized_per_frame(here):
    for number, size in enumerate([(128, 96), (256, 144)]):
        times = frame_times(20, 10, Fraction(2 * number))
        write_video(here / f"{number}.ts", times, size=size, gop=20, b_frames=0)
    path = here / "both.ts"
    path.write_bytes((here / "0.ts").read_bytes() + (here / "1.ts").read_bytes())
    assert process_clip(path).counters == [*range(20), *range(20)]


def test_a_pyramid_of_b_frames_looks_as_in_ffmpeg(here):
    """B-frames that others refer to must not be skipped."""
    options = ["-c:v", "libx264", "-bf", "7", "-b_strategy", "0", "-g", "48", "-refs", "4"]
    options += ["-x264-params", "b-pyramid=normal"]
    path = encode_test_source(here / "a.mp4", *options, source="testsrc2=size=176x120:rate=60:duration=5")
    assert difference_from_ffmpeg(path) <= 1.5


@pytest.mark.parametrize("size", [(64, 64), (20, 16), (34, 200), (258, 34)])
def test_small_and_odd_frame_sizes_fill_the_square(here, size):
    clip = process_clip(write_video(here / "a.mp4", frame_times(20, 10), size=size))
    assert clip.filmstrip.shape == (100, 64, 64, 3)
    if min(size) >= 34:  # smaller counters are not readable
        assert clip.counters == list(range(20))
