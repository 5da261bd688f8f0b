"""A tick shows the frame that a viewer would see at that instant, whatever the container, codec or frame rate."""

import io
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe as ffmpeg_binary

from pipeline.params import Resample, Resize, Trim
from pipeline.records.failures import ClipError, Failure
from pipeline.resample import resample
from pipeline.resize import resize
from pipeline.trim import trim
from pipeline.video.container import open_video
from pipeline.video.filmstrip import decode_ticks, encode
from tests.conftest import SHARED_DATA, real_videos
from tests.pipeline.draw import numbers_in, on_screen, read_counter, read_strip, steady, write_video

TRIM = Trim(margin_s=1.0)
TICKS = Resample(fps=10, frames=100, min_frames=1, pad="loop")
JPG = Resize(size=64, fit="stretch", format="jpg", quality=95, timeout_s=60)
LOSSLESS = Resize(size=64, fit="stretch", format="webp", quality=100, timeout_s=60)


def through(path, *, start_s=None, end_s=None, ticks=TICKS, look=JPG, clip_id="clip"):
    """Trim, resample and resize one file; the rows of the three stages."""
    row = {"clip_id": clip_id, "source": "own", "path": str(path), "precut": start_s is None}
    trimmed = row | trim(row | {"start_s": start_s, "end_s": end_s}, TRIM)
    timed = row | resample(trimmed, ticks)
    return trimmed, timed, row | resize(timed, look)


def ticks_of(times, count=100, start=Fraction(0), fps=10):
    """What the first `count` ticks show, before padding."""
    step = times[-1] - times[-2]
    length = times[-1] - times[0] + step - start
    valid = min(count, next(k for k in range(10_000) if Fraction(k, fps) >= length))
    return on_screen(times, [start + Fraction(k, fps) for k in range(valid)])


RATES = [6, 10, Fraction(25, 2), 24, 25, Fraction(30000, 1001), 30, 60]
STREAMS = {
    "h264 with B-frames in mp4": ("mp4", "libx264", 2, 12),
    "h264 without B-frames in mp4": ("mp4", "libx264", 0, 250),
    "h264 of keyframes only in mov": ("mov", "libx264", 0, 1),
    "hevc in mp4": ("mp4", "libx265", 2, 30),
}


@pytest.mark.parametrize("fps", RATES, ids=lambda fps: f"{float(fps):.4g} fps")
@pytest.mark.parametrize("stream", STREAMS)
def test_each_tick_shows_the_last_frame_whose_time_has_come(here, stream, fps):
    suffix, codec, b_frames, gop = STREAMS[stream]
    times = steady(round(4 * fps), fps)
    path = write_video(here / f"a.{suffix}", times, codec=codec, b_frames=b_frames, gop=gop)
    _, timed, row = through(path)
    expected = ticks_of(times)
    assert row["valid_frames"] == len(expected)
    assert numbers_in(read_strip(row["path"]))[: len(expected)] == expected
    assert timed["source_frames"] == len(times)
    assert timed["avg_fps"] == pytest.approx(float(fps), rel=1e-3)


@pytest.mark.parametrize("fps", [10, Fraction(25, 2), 25, 30], ids=lambda fps: f"{float(fps):.4g} fps")
def test_avi_has_no_presentation_times_and_still_shows_the_right_frames(here, fps):
    times = steady(round(4 * fps), fps)
    path = write_video(here / "a.avi", times, codec="mpeg4", b_frames=0)
    _, _, row = through(path)
    assert numbers_in(read_strip(row["path"]))[: row["valid_frames"]] == ticks_of(times)


@pytest.mark.parametrize(("suffix", "codec"), [("webm", "libvpx-vp9"), ("mkv", "libvpx-vp9"), ("mkv", "libx264")])
@pytest.mark.parametrize("fps", [10, Fraction(25, 2), 25, 50])  # whole milliseconds, the clock of Matroska
def test_matroska_and_webm(here, suffix, codec, fps):
    times = steady(round(4 * fps), fps)
    path = write_video(here / f"a.{suffix}", times, codec=codec)
    _, _, row = through(path)
    assert numbers_in(read_strip(row["path"]))[: row["valid_frames"]] == ticks_of(times)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_variable_frame_rate_is_followed_to_the_frame(here, b_frames):
    steps = np.random.default_rng(3).choice([5, 33, 34, 66, 100, 250, 700], size=60)
    times = [Fraction(int(ms), 1000) for ms in np.concatenate([[0], np.cumsum(steps)])]
    path = write_video(here / "a.mp4", times, time_base=Fraction(1, 1000), b_frames=b_frames)
    _, _, row = through(path)
    valid = row["valid_frames"]
    assert valid > 60
    assert numbers_in(read_strip(row["path"]))[:valid] == on_screen(times, [Fraction(k, 10) for k in range(valid)])


def test_a_clock_that_starts_late_counts_from_the_first_frame(here):
    late = steady(40, 10, start=Fraction(7))
    path = write_video(here / "a.mkv", late, time_base=Fraction(1, 1000))
    _, timed, row = through(path)
    assert numbers_in(read_strip(row["path"]))[:40] == list(range(40))
    assert row["valid_frames"] == 40
    assert min(timed["timeline"]) * Fraction(timed["time_base"]) == 7


def test_a_short_clip_loops_or_holds(here):
    path = write_video(here / "a.mp4", steady(30, 10))
    looped = through(path)[2]
    assert numbers_in(read_strip(looped["path"])) == [k % 30 for k in range(100)]
    held = through(path, ticks=Resample(fps=10, frames=100, min_frames=1, pad="hold"))[2]
    assert numbers_in(read_strip(held["path"])) == [min(k, 29) for k in range(100)]
    assert looped["valid_frames"] == held["valid_frames"] == 30


def test_a_clip_under_min_frames_is_too_short(here):
    path = write_video(here / "a.mp4", steady(9, 10))
    with pytest.raises(ClipError, match=r"too_short: 9 ticks at 10 FPS, at least 10 are needed"):
        through(path, ticks=Resample(fps=10, frames=100, min_frames=10, pad="loop"))


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("libx265", "mp4"), ("libvpx-vp9", "webm")])
def test_skipping_frames_gives_the_same_bytes_as_decoding_all(here, codec, suffix):
    path = write_video(here / f"a.{suffix}", steady(300, 50), codec=codec, gop=60, b_frames=3)
    _, timed, _ = through(path)
    assert timed["timeline_from"] == "packets"
    strips = []
    for skip in (True, False):
        with open_video(path) as (container, stream):
            strips.append(
                decode_ticks(
                    container, stream, timed["timeline"], clock="presentation", size=64, fit="stretch", skip=skip
                )
            )
    assert np.array_equal(*strips)


def test_skipping_does_drop_frames_that_no_tick_shows(here):
    path = write_video(here / "a.mp4", steady(300, 50), gop=60, b_frames=3)
    _, timed, _ = through(path)
    wanted, came_out = set(timed["timeline"]), 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in wanted else "NONREF"
            came_out += len(packet.decode())
    assert len(wanted) <= came_out < 250


# Cutting


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory):
    """Twelve seconds at 25 frames a second in several wrappings."""
    folder = tmp_path_factory.mktemp("long")
    times = steady(300, 25)
    kinds = {
        "mp4, B-frames, short groups": ("mp4", "libx264", 2, 12),
        "mp4, B-frames, one group": ("mp4", "libx264", 3, 400),
        "mp4, no B-frames": ("mp4", "libx264", 0, 30),
        "mkv, B-frames": ("mkv", "libx264", 2, 30),
        "avi, mpeg4": ("avi", "mpeg4", 0, 12),
        "webm, vp9": ("webm", "libvpx-vp9", 0, 40),
        "mov, hevc": ("mov", "libx265", 2, 48),
        "mpeg transport stream": ("ts", "libx264", 2, 25),
    }
    return {
        name: write_video(folder / f"{number}.{suffix}", times, codec=codec, b_frames=b_frames, gop=gop)
        for number, (name, (suffix, codec, b_frames, gop)) in enumerate(kinds.items())
    }


LONG = [
    "mp4, B-frames, short groups",
    "mp4, B-frames, one group",
    "mp4, no B-frames",
    "mkv, B-frames",
    "avi, mpeg4",
    "webm, vp9",
    "mov, hevc",
    "mpeg transport stream",
]


@pytest.mark.parametrize("start_s", [0.0, 0.48, 1.0, 3.7, 7.333])
@pytest.mark.parametrize("kind", LONG)
def test_a_cut_clip_is_bit_for_bit_the_same_window_of_its_source(here, long_videos, kind, start_s):
    source, end_s = long_videos[kind], start_s + 4.0
    trimmed, timed, row = through(source, start_s=start_s, end_s=end_s, look=LOSSLESS)
    direct = {"clip_id": "direct", "source": "own", "path": str(source)}
    taken = direct | resample(direct | {"lead_in_s": start_s, "duration_s": 4.0}, TICKS)
    whole = resize(taken, LOSSLESS)
    assert Path(row["path"]).read_bytes() == Path(whole["path"]).read_bytes()
    expected = ticks_of(steady(300, 25), 40, start=Fraction(str(start_s)))
    assert numbers_in(read_strip(row["path"]))[:40] == expected
    assert row["valid_frames"] == timed["valid_frames"] == 40
    assert trimmed["duration_s"] == pytest.approx(4.0)


@pytest.mark.parametrize("kind", LONG)
def test_lead_in_is_the_distance_from_the_first_frame_of_the_copy(here, long_videos, kind):
    trimmed, _, _ = through(long_videos[kind], start_s=5.21, end_s=8.0)
    with av.open(trimmed["path"]) as container:
        first = next(container.decode(video=0))
    number = read_counter(first.to_ndarray(format="rgb24"))
    assert trimmed["lead_in_s"] == pytest.approx(5.21 - number / 25, abs=2e-3 if "mkv" in kind else 1e-6)
    assert number / 25 <= 5.21


def test_a_cut_copies_only_what_is_needed_and_no_sound(here, long_videos):
    source = long_videos["mp4, B-frames, short groups"]
    trimmed, _, _ = through(source, start_s=5.0, end_s=7.0)
    assert trimmed["bytes"] == Path(trimmed["path"]).stat().st_size < 0.5 * source.stat().st_size
    assert trimmed["path"].startswith("data/trimmed/own/")


def test_a_clip_cut_by_its_publisher_passes_untouched(here):
    path = write_video(here / "a.mp4", steady(50, 25))
    trimmed, _, _ = through(path)
    assert trimmed["path"] == str(path)
    assert trimmed["lead_in_s"] == 0
    assert trimmed["duration_s"] == pytest.approx(2.0)
    assert not (here / "data/trimmed").exists()


def test_a_window_past_the_end_is_clamped(here, long_videos):
    trimmed, _, row = through(long_videos["mp4, B-frames, short groups"], start_s=10.0, end_s=20.0)
    assert trimmed["duration_s"] == pytest.approx(2.0)
    assert row["valid_frames"] == 20
    assert numbers_in(read_strip(row["path"]))[:20] == ticks_of(steady(300, 25), 20, start=Fraction(10))


@pytest.mark.parametrize("start_s", [12.0, 12.5, 1e6])
def test_a_window_wholly_past_the_end_is_too_short(here, long_videos, start_s):
    with pytest.raises(ClipError, match=r"too_short: the video is 12\.00 s long") as caught:
        through(long_videos["mp4, B-frames, short groups"], start_s=start_s, end_s=start_s + 3)
    assert caught.value.code is Failure.TOO_SHORT


# Colour

PATCHES = np.array(
    [
        *[(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 40, 40)],
        *[(40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200)],
        *[(200, 40, 200), (230, 180, 150), (90, 60, 30), (16, 16, 16)],
        *[(235, 235, 235), (120, 160, 90), (70, 110, 180), (250, 120, 10)],
    ],
    np.float64,
)
# The constants of ITU-R BT.601 and BT.709, and AVColorSpace's numbers for them.
MATRICES = {"bt601": (0.299, 0.114, 5), "bt709": (0.2126, 0.0722, 1)}


def to_yuv(rgb, matrix, full, bits):
    """The standards' definition, forwards: R'G'B' from 0 to 255 to quantised Y'CbCr."""
    red, blue, _ = MATRICES[matrix]
    r, g, b = (rgb / 255).T
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    top, scale = 2**bits - 1, 2 ** (bits - 8)
    if full:
        planes = y * top, cb * top + 128 * scale, cr * top + 128 * scale
    else:
        planes = 219 * scale * y + 16 * scale, 224 * scale * cb + 128 * scale, 224 * scale * cr + 128 * scale
    return np.clip(np.rint(np.stack(planes)), 0, top)


def write_patches(path, matrix, full, bits, layout, size=256):
    """Sixteen solid squares, stored without loss."""
    pixel_format = f"yuv{layout}p" + ("10le" if bits == 10 else "")
    kind = np.uint8 if bits == 8 else np.uint16
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"qp": "0", "preset": "ultrafast"})
        stream.width = stream.height = size
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.colorspace, context.color_range = MATRICES[matrix][2], 2 if full else 1
        for number in range(12):
            frame = av.VideoFrame(size, size, pixel_format)
            frame.colorspace, frame.color_range = context.colorspace, context.color_range
            for plane, values in zip(frame.planes, to_yuv(PATCHES, matrix, full, bits), strict=True):
                side = plane.width // 4
                samples = np.kron(values.reshape(4, 4), np.ones((side, side))).astype(kind)
                padded = np.zeros((plane.height, plane.line_size // samples.itemsize), kind)
                padded[:, : plane.width] = samples
                plane.update(padded.tobytes())
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("layout", ["420", "444"])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_come_out_true(here, matrix, full, bits, layout):
    path = write_patches(here / "a.mp4", matrix, full, bits, layout)
    picture = read_strip(through(path, look=LOSSLESS)[2]["path"])[0]
    seen = picture[8::16, 8::16].reshape(16, 3).astype(float)
    assert np.abs(seen - PATCHES).max() <= 3


def test_jpeg_keeps_the_colours_too(here):
    path = write_patches(here / "a.mp4", "bt709", False, 8, "420")
    picture = read_strip(through(path)[2]["path"])[0]
    assert np.abs(picture[8::16, 8::16].reshape(16, 3).astype(float) - PATCHES).max() <= 5


def test_what_a_stream_leaves_unsaid_is_601_when_small(here):
    path = write_patches(here / "said.mp4", "bt601", False, 8, "420")
    unsaid = here / "unsaid.mp4"
    bare = "h264_metadata=matrix_coefficients=2:colour_primaries=2:transfer_characteristics=2"
    subprocess.run([ffmpeg_binary(), "-v", "error", "-i", path, "-c", "copy", "-bsf:v", bare, unsaid], check=True)
    with av.open(str(unsaid)) as container:
        assert int(next(container.decode(video=0)).colorspace) == 2  # unspecified
    picture = read_strip(through(unsaid, look=LOSSLESS)[2]["path"])[0]
    assert np.abs(picture[8::16, 8::16].reshape(16, 3).astype(float) - PATCHES).max() <= 3


# Shape


def by_ffmpeg(path, scale="64:64"):
    """The first frame as ffmpeg shows it: turned as its metadata says, then scaled."""
    command = [ffmpeg_binary(), "-v", "error", "-i", str(path), "-frames:v", "1", "-vf", f"scale={scale}:flags=area"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_metadata_turns_the_picture_as_a_player_does(here, rotation):
    corners = np.zeros((96, 128, 3), np.uint8)
    corners[:48, :64], corners[:48, 64:], corners[48:, :64] = (220, 30, 30), (30, 220, 30), (30, 30, 220)
    path = write_video(here / "a.mp4", steady(20, 10), pictures=[corners] * 20, rotation=rotation)
    shown = by_ffmpeg(path).reshape(64, 64, 3).astype(int)
    _, timed, row = through(path)
    picture = read_strip(row["path"])[0].astype(int)
    assert np.abs(picture - shown).mean() < 6
    assert timed["rotation"] % 360 == rotation
    for turns in (1, 2, 3):
        assert np.abs(np.rot90(picture, turns) - shown).mean() > 40


@pytest.mark.parametrize("rotation", [0, 90])
def test_letterbox_keeps_the_shape_between_black_bars(here, rotation):
    white = np.full((64, 128, 3), 255, np.uint8)
    path = write_video(here / "a.mp4", steady(20, 10), pictures=[white] * 20, size=(128, 64), rotation=rotation)
    boxed = Resize(size=64, fit="letterbox", format="webp", quality=100, timeout_s=60)
    picture = read_strip(through(path, look=boxed)[2]["path"])[0]
    lit = picture[..., 1] > 128
    if rotation:
        lit = lit.T
    assert lit[16:48].all()
    assert not lit[:16].any()
    assert not lit[48:].any()


@pytest.mark.parametrize("size", [(64, 64), (20, 16), (34, 200), (258, 34)])
def test_tiny_and_odd_sizes_fill_the_square(here, size):
    path = write_video(here / "a.mp4", steady(20, 10), size=size)
    strip = read_strip(through(path)[2]["path"])
    assert strip.shape == (100, 64, 64, 3)
    if min(size) >= 34:
        assert numbers_in(strip)[:20] == list(range(20))


def test_frames_of_a_filmstrip_do_not_bleed_into_each_other():
    frames = np.zeros((4, 64, 64, 3), np.uint8)
    frames[1::2] = 255
    strip = cv2.imdecode(np.frombuffer(encode(frames, format="jpg", quality=95), np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == (256, 64, 3)
    assert np.abs(strip.reshape(4, 64, 64, 3).astype(int) - frames).max() <= 1


def test_webp_at_quality_100_is_lossless():
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    data = np.frombuffer(encode(frames, format="webp", quality=100), np.uint8)
    assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].reshape(frames.shape), frames)


def test_jpeg_keeps_full_chroma():
    stripes = np.zeros((2, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = (255, 0, 0)
    stripes[:, :, 1::2] = (0, 0, 255)
    strip = cv2.imdecode(np.frombuffer(encode(stripes, format="jpg", quality=95), np.uint8), cv2.IMREAD_COLOR)
    # With halved chroma each pair of columns would share one purple.
    assert np.abs(strip[..., ::-1].reshape(stripes.shape).astype(int) - stripes).mean() < 8


# Damage


def test_a_damaged_frame_on_the_timeline_fails_and_names_its_time(here):
    path = write_video(here / "a.mp4", steady(60, 10), gop=60, b_frames=0)
    row = {"clip_id": "clip", "source": "own", "path": str(path), "lead_in_s": 0.0, "duration_s": 6.0}
    timed = row | resample(row, TICKS)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    victim = packets[30]
    data[victim.pos : victim.pos + victim.size] = bytes(victim.size)
    path.write_bytes(data)
    with pytest.raises(ClipError, match=r"decode_error.* 3\.00 s"):
        resize(timed, JPG)


def test_cover_art_is_no_video(here):
    path = here / "a.mp3"
    sound = ["-f", "lavfi", "-i", "anullsrc", "-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", "-t", "1"]
    tags = ["-c:v", "png", "-disposition:v", "attached_pic", "-c:a", "libmp3lame"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *sound, "-map", "0", "-map", "1", *tags, path], check=True)
    with pytest.raises(ClipError, match="no_video_stream"):
        through(path)


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "http:x.mp4", "-i.mp4", "%03d.mp4"])
def test_a_file_name_is_never_read_as_a_protocol_option_or_pattern(here, name):
    write_video(here / "plain.mp4", steady(40, 10)).rename(here / name)
    _, _, row = through(name, start_s=1.0, end_s=3.0)
    assert numbers_in(read_strip(row["path"]))[:20] == list(range(10, 30))


# Real clips

needs_videos = pytest.mark.skipif(not real_videos(), reason=f"no videos below {SHARED_DATA.name}/videos (SHARED_DATA)")


@needs_videos
def test_every_real_file_gives_a_filmstrip_or_a_typed_failure(here):
    outcomes = {}
    for number, path in enumerate(real_videos()):
        try:
            row = through(path, clip_id=f"clip{number}")[2]
            assert read_strip(row["path"]).shape == (100, 64, 64, 3), path.name
            outcomes[path.name] = "ok"
        except ClipError as error:
            outcomes[path.name] = error.code.value
    assert outcomes.get("spec_fixtures_movies_broken.mp4", "unreadable_container") == "unreadable_container"
    assert outcomes.get("spec_fixtures_movies_empty.flv", "unreadable_container") == "unreadable_container"
    ok = sum(outcome == "ok" for outcome in outcomes.values())
    assert ok >= 0.85 * len(outcomes), {name: what for name, what in outcomes.items() if what != "ok"}


COMPARED = [
    "torchvision/WUzgd7C1pWA.mp4",
    "torchvision/v_SoccerJuggling_g23_c01.avi",
    "torchcodec/test_resources_bt709_full_range.mp4",
    "torchcodec/test_resources_av1_video.mkv",
    "decord/tests_test_data_unordered.mov",
    "hf-datasets/tests_features_data_test_video_66x50.mov",
]


@needs_videos
@pytest.mark.parametrize("name", COMPARED)
def test_a_real_clip_matches_a_plain_decode_by_timestamp(here, name):
    path = SHARED_DATA / "videos" / name
    if not path.exists():
        pytest.skip(f"{name} is absent")
    _, _, row = through(path, look=LOSSLESS)
    strip = read_strip(row["path"])
    with av.open(io.BytesIO(path.read_bytes())) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    frames.sort(key=lambda item: item[0])
    start = frames[0][0]
    for tick in range(0, row["valid_frames"], 7):
        _, full = [item for item in frames if item[0] - start <= tick / 10 + 1e-6][-1]
        plain = cv2.resize(full, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(strip[tick] - plain).mean() <= 2, f"tick {tick}"


@needs_videos
@pytest.mark.parametrize(
    "name", ["torchcodec/test_resources_h265_10bits.mp4", "torchcodec/test_resources_h264_10bits.mp4"]
)
def test_ten_bits_match_the_standard_worked_out_in_floating_point(here, name):
    """The pictures are noise-like, on which swscale's own conversion is off by 3; so the reference is the formula."""
    path = SHARED_DATA / "videos" / name
    if not path.exists():
        pytest.skip(f"{name} is absent")
    _, _, row = through(path, look=LOSSLESS)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "yuv420p10le"
    y, cb, cr = (
        np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width].astype(float) / 4
        for plane in frame.planes
    )
    y, cb, cr = (y - 16) / 219, *((plane.repeat(2, 0).repeat(2, 1) - 128) / 224 for plane in (cb, cr))
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 2) * 255
    plain = np.clip(cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_AREA), 0, 255)
    assert np.abs(read_strip(row["path"])[0] - plain).mean() <= 1
