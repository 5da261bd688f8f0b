"""Times that cannot be taken at their word: the tick still shows the frame that a viewer would see."""

import subprocess
from fractions import Fraction

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe as ffmpeg_binary

from tests.pipeline.draw import numbers_in, on_screen, read_strip, steady, write_video
from tests.pipeline.video.test_video import through, ticks_of


def ffmpeg(*arguments):
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def shown(path, **window):
    """The numbers that the real ticks of a file carry, and where their times came from."""
    _, timed, row = through(path, **window)
    return numbers_in(read_strip(row["path"]))[: row["valid_frames"]], (timed["timeline_from"], timed["clock"])


# Any rate, structure and window

RATES = st.sampled_from([1, 2, 5, 6, Fraction(15, 2), 10, 12, 15, 24, 25, 30, 48, 50, 60, 100, 120, 240])
STREAMS = st.sampled_from(
    [("mp4", "libx264"), ("mkv", "libx264"), ("ts", "libx264"), ("mp4", "mpeg4"), ("mp4", "libx265")]
)


@given(
    rate=st.one_of(RATES, RATES.map(lambda rate: rate * Fraction(1000, 1001))),
    stream=STREAMS,
    gop=st.integers(1, 60),
    b_frames=st.integers(0, 4),
    start=st.integers(0, 3000).map(lambda ms: Fraction(ms, 1000)),
    length=st.integers(300, 3000).map(lambda ms: Fraction(ms, 1000)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_window_of_any_stream(here, rate, stream, gop, b_frames, start, length):
    suffix, codec = stream
    rate = Fraction(round(rate)) if codec == "mpeg4" else Fraction(rate)  # its own clock is too coarse for the others
    frames = max(2, min(int(rate * 5), 400))
    times = steady(frames, rate)
    path = write_video(
        here / f"a.{suffix}",
        times,
        codec=codec,
        gop=gop,
        b_frames=b_frames,
        size=(64, 64),
        time_base=1 / Fraction(rate),
    )
    unit = {"mkv": Fraction(1, 1000), "ts": Fraction(1, 90000)}.get(suffix)
    if unit is not None:  # what the container can say
        times = [round(time / unit) * unit for time in times]
    whole = Fraction(frames) / rate
    if start >= whole:
        return
    numbers, _ = shown(path, start_s=float(start), end_s=float(start + length))
    instants = [
        start + Fraction(tick, 10) for tick in range(100) if start + Fraction(tick, 10) < min(whole, start + length)
    ]
    expected = on_screen([time - times[0] for time in times], instants)
    # A tick that falls on the very moment of a change may show either side of a rounded timestamp.
    close = [min(abs(time - times[0] - instant) for time in times) <= Fraction(1, 800) for instant in instants]
    assert abs(len(numbers) - len(expected)) <= 1
    for number, right, doubtful in zip(numbers, expected, close, strict=False):
        assert number == right or (doubtful and abs(number - right) <= 1)


@pytest.mark.parametrize("rate", [1, 6, 120, 240])
def test_the_slowest_and_the_fastest(here, rate):
    times = steady(rate * 4, rate)
    numbers, _ = shown(write_video(here / "a.mp4", times, size=(64, 64)))
    assert numbers == ticks_of(times)


# Times missing, doubled, shuffled


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("libx265", "hevc"), ("mpeg4", "m4v")])
def test_an_elementary_stream_plays_at_its_nominal_rate(here, codec, suffix):
    video = write_video(here / "a.mp4", steady(50, 25), codec=codec)
    path = here / f"a.{suffix}"
    headers = ["-bsf:v", "dump_extra"] if suffix == "m4v" else []
    ffmpeg("-i", video, "-c", "copy", *headers, "-f", suffix, path)
    numbers, origin = shown(path)
    assert numbers == ticks_of(steady(50, 25))
    assert origin == ("frames", "rate" if suffix != "m4v" else origin[1])


def test_a_window_of_an_elementary_stream_is_read_from_the_whole(here):
    video = write_video(here / "a.mp4", steady(100, 25))
    path = here / "a.h264"
    ffmpeg("-i", video, "-c", "copy", "-f", "h264", path)
    trimmed, _, row = through(path, start_s=1.0, end_s=3.0)
    assert (trimmed["path"], trimmed["lead_in_s"]) == (str(path), 1.0)
    assert numbers_in(read_strip(row["path"]))[:20] == ticks_of(steady(100, 25), 20, start=Fraction(1))


@pytest.mark.parametrize("window", [{}, {"start_s": 1.0, "end_s": 3.0}])
def test_mxf_stamps_frames_in_decoding_order(here, window):
    video = write_video(here / "a.mp4", steady(100, 25), b_frames=2)
    ffmpeg("-i", video, "-c", "copy", here / "a.mxf")
    numbers, origin = shown(here / "a.mxf", **window)
    assert origin == ("frames", "order")
    assert numbers == ticks_of(steady(100, 25), len(numbers), start=Fraction(1 if window else 0))
    assert len(numbers) == (20 if window else 40)


def test_h264_with_b_frames_in_avi(here):
    video = write_video(here / "a.mp4", steady(75, 25), b_frames=3)
    ffmpeg("-i", video, "-c", "copy", here / "a.avi")
    numbers, origin = shown(here / "a.avi")
    assert numbers == ticks_of(steady(75, 25))
    assert origin == ("frames", "order")


def remux(source, path, change):
    """Copy packets with their times as `change(number, packet)` leaves them."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(packet for packet in given.demux(video=0) if packet.size):
            change(number, packet)
            packet.stream = stream
            made.mux(packet)
    return path


def test_doubled_timestamps_fall_back_to_a_decode(here):
    video = write_video(here / "a.mkv", steady(50, 25), b_frames=0)

    def double(number, packet):
        if number % 10 == 5:
            packet.pts = packet.dts = packet.pts - 40

    numbers, origin = shown(remux(video, here / "b.mkv", double))
    assert origin == ("frames", "presentation")
    # The second frame of a doubled pair is on screen for no time at all.
    right = [frame - (frame % 10 == 5) for frame in ticks_of(steady(50, 25))]
    assert numbers == right


def test_a_clock_that_jumps_back_shows_what_a_player_shows(here):
    for name, begin in (("early", 0), ("late", 3)):
        write_video(here / f"{name}.ts", steady(30, 10, Fraction(begin)), b_frames=0, gop=30)
    path = here / "both.ts"
    path.write_bytes((here / "late.ts").read_bytes() + (here / "early.ts").read_bytes())
    numbers, origin = shown(path)
    assert origin == ("frames", "presentation")
    assert numbers == list(range(30))


def test_a_stream_that_appears_in_mid_file_is_passed_over(here):
    """Sound that its header does not announce, after more seconds than FFmpeg looks ahead."""
    sound = ["-itsoffset", "12", "-f", "lavfi", "-i", "anullsrc=r=44100:cl=mono", "-c:a", "libmp3lame"]
    video = write_video(here / "a.mp4", steady(300, 20), b_frames=0)
    path = here / "a.flv"
    ffmpeg("-i", video, *sound, "-c:v", "copy", "-t", "15", path)
    data = bytearray(path.read_bytes())
    data[4] = 1  # "video only"
    path.write_bytes(data)
    with av.open(str(path)) as container, pytest.raises(IndexError):
        list(container.demux(video=0))
    numbers, _ = shown(path)
    assert numbers == ticks_of(steady(300, 20))


def test_a_gap_holds_the_frame_before_it(here):
    times = [*steady(10, 10), *steady(10, 10, Fraction(3))]
    path = write_video(here / "a.mp4", times, time_base=Fraction(1, 100), b_frames=0)
    numbers, origin = shown(path)
    assert numbers == [*range(10), *[9] * 20, *range(10, 20)]
    assert origin == ("packets", "presentation")


def test_an_edit_list_hides_what_players_do_not_show(here):
    video = write_video(here / "a.mp4", steady(100, 25), gop=50, b_frames=2)
    path = here / "edited.mp4"
    ffmpeg("-ss", "1.2", "-i", video, "-c", "copy", path)  # a copy from the keyframe at 0 s, with an edit list
    with av.open(str(path)) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    numbers, _ = shown(path)
    assert numbers[:20] == [30 + frame for frame in ticks_of(steady(70, 25), 20)]


@pytest.mark.parametrize("begin", [Fraction(-1), Fraction(4), Fraction(95_000)])
def test_the_first_frame_is_time_zero_wherever_the_clock_starts(here, begin):
    path = write_video(here / "a.ts" if begin > 1000 else here / "a.nut", steady(50, 25, begin))
    assert shown(path)[0] == ticks_of(steady(50, 25))


@pytest.mark.parametrize("start_s", [1.0, 1.48, 2.5])
def test_a_cut_in_an_open_group_of_pictures(here, start_s):
    """The pictures before an open group's first keyframe refer to what is not in the file."""
    options = {"x264-params": "threads=1:open-gop=1:b-pyramid=none:scenecut=0"}
    path = write_video(here / "a.mp4", steady(150, 25), gop=25, b_frames=3, options=options)
    numbers, _ = shown(path, start_s=start_s, end_s=start_s + 2)
    assert numbers == ticks_of(steady(150, 25), 20, start=Fraction(str(start_s)))


def test_hidden_frames_of_vp8_are_no_frames(here):
    source = "testsrc2=size=128x96:rate=30:duration=4"
    vp8 = ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "20", "-b:v", "300k", "-arnr-maxframes", "5"]
    ffmpeg("-f", "lavfi", "-i", source, *vp8, here / "a.webm")
    with av.open(str(here / "a.webm")) as container:
        hidden = [not bytes(packet)[0] & 0x10 for packet in container.demux(video=0) if packet.size]
    _, timed, _ = through(here / "a.webm")
    assert timed["source_frames"] == len(hidden) - sum(hidden) == 120


def test_a_codec_that_its_container_cannot_hold_is_cut_into_matroska(here):
    video = write_video(here / "a.mkv", steady(100, 25), codec="libvpx-vp9")
    path = video.rename(here / "a.flv")  # the name lies: flv can hold no VP9 of this kind
    trimmed, _, row = through(path, start_s=1.0, end_s=3.0)
    assert trimmed["path"].endswith((".mkv", ".flv"))
    assert numbers_in(read_strip(row["path"]))[:20] == ticks_of(steady(100, 25), 20, start=Fraction(1))


def test_an_unknown_suffix_is_cut_into_matroska(here):
    path = write_video(here / "a.mp4", steady(100, 25)).rename(here / "a.clip")
    trimmed, _, row = through(path, start_s=1.0, end_s=3.0)
    assert trimmed["path"].endswith(".mkv")
    assert numbers_in(read_strip(row["path"]))[:20] == ticks_of(steady(100, 25), 20, start=Fraction(1))
