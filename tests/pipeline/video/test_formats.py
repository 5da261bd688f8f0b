"""Whatever the pixel format, colour, shape or structure of a stream, a tick looks as FFmpeg shows it."""

import subprocess
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe as ffmpeg_binary

from pipeline.params import Resize
from pipeline.video.area import area_resize
from pipeline.video.container import open_video
from tests.pipeline.draw import numbers_in, read_strip, steady, write_video
from tests.pipeline.reference import by_ffmpeg
from tests.pipeline.video.test_video import LOSSLESS, through

SOURCE = "testsrc2=size=176x120:rate=10:duration=2"


def ffmpeg(*arguments):
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def draw(path, *options, source=SOURCE):
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def difference(path, **how):
    """Mean absolute difference of our ticks from FFmpeg's, which are as many."""
    _, timed, row = through(path, look=LOSSLESS)
    reference = by_ffmpeg(path, **how)
    assert reference.valid == timed["valid_frames"]
    strip = read_strip(row["path"])[: reference.valid]
    return np.abs(strip.astype(int) - reference.pictures).mean()


# Area resize


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(64, 64), (65, 64), (64, 129), (256, 340), (719, 1279), (720, 1280)])
def test_area_resize_is_the_average_over_each_cell(shape, kind):
    plane = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, shape, dtype=kind)
    expected = cv2.resize(plane.astype(np.float64), (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(area_resize(plane, 64, 64) - expected).max() <= 1e-6 * np.iinfo(kind).max


def test_area_resize_by_hand():
    plane = np.array([[0, 30, 60]], np.uint8).repeat(2, 0)
    # Three samples into two cells: each holds one sample and half of the middle one.
    assert area_resize(plane, 2, 1).tolist() == [[pytest.approx(10), pytest.approx(50)]]


def test_area_resize_grows_by_linear_interpolation():
    plane = np.array([[0, 100]], np.uint8)
    assert area_resize(plane, 4, 1).tolist() == [[0, 25, 75, 100]]


# Pixel formats

FFV1 = ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuva420p", "yuv420p9le", "yuv422p10le"]
FFV1 += ["yuv420p12le", "yuv444p14le", "yuv420p16le", "gray", "gray10le", "gray12le", "gray16le"]
FFV1 += ["bgr0", "gbrp10le", "gbrp12le", "rgb48le"]
RAW = ["nv12", "nv21", "nv16", "nv24", "p010le", "p012le", "p210le", "yuyv422", "uyvy422", "rgb24", "bgra", "rgb565le"]
RAW += ["yuv420p10be", "gray16be", "monob"]


@pytest.mark.parametrize("pixels", FFV1)
def test_pixel_formats_of_codecs(here, pixels):
    path = draw(here / "a.mkv", "-c:v", "ffv1", "-pix_fmt", pixels)
    assert difference(path) <= 1.5


@pytest.mark.parametrize("pixels", RAW)
def test_pixel_formats_of_raw_video(here, pixels):
    path = draw(here / "a.nut", "-c:v", "rawvideo", "-pix_fmt", pixels)
    assert difference(path) <= 1.5


def test_palette(here):
    assert difference(draw(here / "a.gif")) <= 1.5


SPACES = {"bt470bg": 5, "smpte170m": 6, "bt709": 1, "smpte240m": 7, "bt2020nc": 9, "fcc": 4}


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p10le", "yuv420p12le"])
@pytest.mark.parametrize("reach", ["tv", "pc"])
@pytest.mark.parametrize("space", SPACES)
def test_each_matrix_range_and_depth(here, space, reach, pixels):
    convert = f"scale=out_color_matrix={space}:out_range={reach},format={pixels}"
    tagged = ["-colorspace", space, "-color_range", reach, "-c:v", "libx265", "-x265-params", "log-level=none:qp=4"]
    path = draw(here / "a.mp4", "-vf", convert, *tagged)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert int(frame.colorspace) in (SPACES[space], 6 if space == "bt470bg" else -1)
        assert int(frame.color_range) == (2 if reach == "pc" else 1)
    assert difference(path) <= 2


# Shape


@pytest.mark.parametrize("flips", [[], ["-display_hflip"], ["-display_vflip"]], ids=["", "mirrored", "upside down"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_display_matrices_turn_and_mirror_as_a_player_does(here, rotation, flips):
    corners = np.zeros((96, 128, 3), np.uint8)
    corners[:48, :64], corners[:48, 64:], corners[48:, :64] = (220, 30, 30), (30, 220, 30), (30, 30, 220)
    plain = write_video(here / "plain.mp4", steady(20, 10), pictures=[corners] * 20)
    path = here / "turned.mp4"
    ffmpeg("-display_rotation", rotation, *flips, "-i", plain, "-c", "copy", path)
    assert difference(path) <= 3
    boxed = Resize(size=64, fit="letterbox", format="webp", quality=100, timeout_s=60)
    lit = read_strip(through(path, look=boxed, clip_id="boxed")[2]["path"])[0].max(axis=2) > 20
    upright = rotation in (90, 270)
    assert lit.any(axis=1).sum() == pytest.approx(64 if upright else 48, abs=2)
    assert lit.any(axis=0).sum() == pytest.approx(48 if upright else 64, abs=2)


@pytest.mark.parametrize(("aspect", "width", "height"), [("2/1", 64, 32), ("1/2", 32, 64), ("1/1", 64, 64)])
def test_letterbox_minds_pixels_that_are_not_square(here, aspect, width, height):
    path = draw(here / "a.mp4", "-vf", f"setsar={aspect}", source="color=white:size=128x128:rate=10:duration=2")
    boxed = Resize(size=64, fit="letterbox", format="webp", quality=100, timeout_s=60)
    lit = read_strip(through(path, look=boxed)[2]["path"])[0][..., 1] > 128
    assert (lit.any(axis=0).sum(), lit.any(axis=1).sum()) == (width, height)


def test_cropping_flags_of_the_stream_are_obeyed(here):
    whole = draw(here / "whole.mp4", "-c:v", "libx264", "-crf", "10")
    path = here / "cropped.mp4"
    crop = "h264_metadata=crop_left=16:crop_right=8:crop_top=32:crop_bottom=4"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", crop, path)
    with open_video(path) as (container, stream):
        frame = next(container.decode(stream))
        assert (frame.width, frame.height) == (152, 92)
    assert difference(path, options=["-flags", "unaligned"]) <= 1.5


# Structure


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_interlaced_video_blends_its_fields(here, codec, suffix):
    fields = ["-x264-params", "tff=1"] if codec == "libx264" else ["-flags", "+ildct+ilme"]
    path = draw(here / f"a.{suffix}", "-c:v", codec, *fields, "-b:v", "4M", source=SOURCE.replace("rate=10", "rate=25"))
    assert difference(path) <= 1.5
    assert through(path)[1]["timeline_from"] == "frames"


def test_a_resolution_that_changes_in_mid_stream(here):
    for number, size in enumerate([(128, 96), (256, 144)]):
        write_video(here / f"{number}.ts", steady(20, 10, Fraction(2 * number)), size=size, gop=20, b_frames=0)
    path = here / "both.ts"
    path.write_bytes((here / "0.ts").read_bytes() + (here / "1.ts").read_bytes())
    _, timed, row = through(path)
    assert timed["valid_frames"] == 40
    assert numbers_in(read_strip(row["path"]))[:40] == [*range(20), *range(20)]


def test_skipping_changes_nothing_in_a_pyramid_of_b_frames(here):
    options = [
        "-c:v",
        "libx264",
        "-bf",
        "7",
        "-b_strategy",
        "0",
        "-g",
        "48",
        "-refs",
        "4",
        "-x264-params",
        "b-pyramid=normal",
    ]
    path = draw(here / "a.mp4", *options, source="testsrc2=size=176x120:rate=60:duration=5")
    assert difference(path) <= 1.5
