"""Each tick shows the last frame whose presentation time has come, at any frame rate and in any container."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.params import Resample
from pipeline.records.failures import ClipError
from pipeline.video.frames import FrameTimes, StreamMetadata
from pipeline.video.timeline import make_timeline
from tests.pipeline.draw import (
    expected_counters,
    frame_times,
    frames_on_screen,
    process_clip,
    read_counters,
    write_video,
)

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
    times = frame_times(round(4 * fps), fps)
    clip = process_clip(write_video(here / f"a.{suffix}", times, codec=codec, b_frames=b_frames, gop=gop))
    assert clip.counters == expected_counters(times)
    assert clip.resample.source_frames == len(times)
    assert clip.resample.avg_fps == pytest.approx(float(fps), rel=1e-3)


@pytest.mark.parametrize("fps", [10, Fraction(25, 2), 25, 30], ids=lambda fps: f"{float(fps):.4g} fps")
def test_ticks_of_an_avi_file_without_presentation_times(here, fps):
    times = frame_times(round(4 * fps), fps)
    path = write_video(here / "a.avi", times, codec="mpeg4", b_frames=0)
    assert process_clip(path).counters == expected_counters(times)


@pytest.mark.parametrize(("suffix", "codec"), [("webm", "libvpx-vp9"), ("mkv", "libvpx-vp9"), ("mkv", "libx264")])
@pytest.mark.parametrize("fps", [10, Fraction(25, 2), 25, 50])  # frames at whole milliseconds, Matroska's unit
def test_ticks_of_matroska_and_webm_files(here, suffix, codec, fps):
    times = frame_times(round(4 * fps), fps)
    path = write_video(here / f"a.{suffix}", times, codec=codec)
    assert process_clip(path).counters == expected_counters(times)


@pytest.mark.parametrize("rate", [1, 6, 120, 240])
def test_ticks_of_very_slow_and_very_fast_videos(here, rate):
    times = frame_times(rate * 4, rate)
    assert process_clip(write_video(here / "a.mp4", times, size=(64, 64))).counters == expected_counters(times)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_ticks_follow_a_variable_frame_rate(here, b_frames):
    steps = np.random.default_rng(3).choice([5, 33, 34, 66, 100, 250, 700], size=60)
    times = [Fraction(int(ms), 1000) for ms in np.concatenate([[0], np.cumsum(steps)])]
    path = write_video(here / "a.mp4", times, time_base=Fraction(1, 1000), b_frames=b_frames)
    counters = process_clip(path).counters
    assert len(counters) > 60
    assert counters == frames_on_screen(times, [Fraction(tick, 10) for tick in range(len(counters))])


def test_a_gap_in_the_timestamps_holds_the_frame_before_it(here):
    times = [*frame_times(10, 10), *frame_times(10, 10, Fraction(3))]
    clip = process_clip(write_video(here / "a.mp4", times, time_base=Fraction(1, 100), b_frames=0))
    assert clip.counters == [*range(10), *[9] * 20, *range(10, 20)]
    assert (clip.resample.timeline_from, clip.resample.clock) == ("packets", "presentation")


def test_time_is_counted_from_the_first_frame_when_timestamps_start_late(here):
    late = frame_times(40, 10, start=Fraction(7))
    clip = process_clip(write_video(here / "a.mkv", late, time_base=Fraction(1, 1000)))
    assert clip.counters == list(range(40))
    assert min(clip.resample.timeline) * Fraction(clip.resample.time_base) == 7


@pytest.mark.parametrize(("suffix", "start"), [("nut", -1), ("nut", 4), ("ts", 95_000)])
def test_time_is_counted_from_the_first_frame_when_timestamps_are_negative_or_wrap_around(here, suffix, start):
    path = write_video(here / f"a.{suffix}", frame_times(50, 25, Fraction(start)))
    assert process_clip(path).counters == expected_counters(frame_times(50, 25))


def test_ticks_are_not_shifted_by_the_rounding_of_floats():
    metadata = StreamMetadata("matroska", "h264", 64, 64, 0)
    frames = FrameTimes(range(10), 10, Fraction(1, 10), "packets", "presentation", metadata)
    # As floats, 0.3 is less than 3/10, and 0.1 + 0.2 is more.
    timeline = make_timeline(frames, lead_in_s=0.3, duration_s=0.1 + 0.2, fps=10, count=4, pad="hold")
    assert timeline.pts == [3, 4, 5, 5]
    assert timeline.valid_frames == 3


def test_a_short_clip_is_padded_by_looping_or_by_holding_its_last_frame(here):
    path = write_video(here / "a.mp4", frame_times(30, 10))
    looped = process_clip(path, clip_id="looped")
    hold = Resample(fps=10, frames=100, min_frames=1, pad="hold")
    held = process_clip(path, clip_id="held", resample_settings=hold)
    assert read_counters(looped.filmstrip) == [tick % 30 for tick in range(100)]
    assert read_counters(held.filmstrip) == [min(tick, 29) for tick in range(100)]
    assert looped.resize.valid_frames == held.resize.valid_frames == 30


def test_a_clip_with_fewer_ticks_than_min_frames_is_too_short(here):
    path = write_video(here / "a.mp4", frame_times(9, 10))
    with pytest.raises(ClipError, match=r"too_short: 9 ticks at 10 FPS, at least 10 are needed"):
        process_clip(path, resample_settings=Resample(fps=10, frames=100, min_frames=10, pad="loop"))


SOME_RATES = st.sampled_from([1, 2, 5, 6, Fraction(15, 2), 10, 12, 15, 24, 25, 30, 48, 50, 60, 100, 120, 240])
SOME_STREAMS = st.sampled_from(
    [("mp4", "libx264"), ("mkv", "libx264"), ("ts", "libx264"), ("mp4", "mpeg4"), ("mp4", "libx265")]
)


@given(
    rate=st.one_of(SOME_RATES, SOME_RATES.map(lambda rate: rate * Fraction(1000, 1001))),
    stream=SOME_STREAMS,
    gop=st.integers(1, 60),
    b_frames=st.integers(0, 4),
    start=st.integers(0, 3000).map(lambda ms: Fraction(ms, 1000)),
    length=st.integers(300, 3000).map(lambda ms: Fraction(ms, 1000)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_window_of_any_stream_shows_the_right_frames(here, rate, stream, gop, b_frames, start, length):
    suffix, codec = stream
    rate = Fraction(round(rate)) if codec == "mpeg4" else Fraction(rate)  # MPEG-4's time base is too coarse for others
    frames = max(2, min(int(rate * 5), 400))
    times = frame_times(frames, rate)
    path = write_video(
        here / f"a.{suffix}", times, codec=codec, gop=gop, b_frames=b_frames, size=(64, 64), time_base=1 / rate
    )
    unit = {"mkv": Fraction(1, 1000), "ts": Fraction(1, 90000)}.get(suffix)
    if unit is not None:  # the container rounds times to it
        times = [round(time / unit) * unit for time in times]
    end = min(frames / rate, start + length)
    if start >= frames / rate:
        return
    counters = process_clip(path, start_s=float(start), end_s=float(start + length)).counters
    instants = [instant for tick in range(100) if (instant := start + Fraction(tick, 10)) < end]
    expected = frames_on_screen(times, instants)
    # A tick at the very instant of a change may show either frame, as timestamps are rounded.
    at_a_change = [min(abs(time - times[0] - instant) for time in times) <= Fraction(1, 800) for instant in instants]
    assert abs(len(counters) - len(expected)) <= 1
    for actual, right, either in zip(counters, expected, at_a_change, strict=False):
        assert actual == right or (either and abs(actual - right) <= 1)
