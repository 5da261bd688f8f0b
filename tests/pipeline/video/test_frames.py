"""Frame times of files whose timestamps are missing, doubled, shuffled or hidden are those of a player."""

from fractions import Fraction

import av
import pytest

from pipeline.video.frames import read_frame_times
from tests.pipeline.draw import expected_counters, frame_times, process_clip, run_ffmpeg, write_video


def copy_packets(source, target, change):
    """Copy all packets to another file after `change(number, packet)` has edited each."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(opened.streams.video[0])
        for number, packet in enumerate(packet for packet in opened.demux(video=0) if packet.size):
            change(number, packet)
            packet.stream = stream
            output.mux(packet)
    return target


@pytest.mark.parametrize(
    ("codec", "suffix", "clock"),
    [("libx264", "h264", "rate"), ("libx265", "hevc", "rate"), ("mpeg4", "m4v", "presentation")],
)
def test_an_elementary_stream_plays_at_its_nominal_rate(here, codec, suffix, clock):
    video = write_video(here / "a.mp4", frame_times(50, 25), codec=codec)
    path = here / f"a.{suffix}"
    headers = ["-bsf:v", "dump_extra"] if suffix == "m4v" else []
    run_ffmpeg("-i", video, "-c", "copy", *headers, "-f", suffix, path)
    clip = process_clip(path)
    assert clip.counters == expected_counters(frame_times(50, 25))
    assert (clip.resample.timeline_from, clip.resample.clock) == ("frames", clock)


@pytest.mark.parametrize("window", [{}, {"start_s": 1.0, "end_s": 3.0}])
def test_frames_of_mxf_are_timed_by_their_order(here, window):
    video = write_video(here / "a.mp4", frame_times(100, 25), b_frames=2)
    run_ffmpeg("-i", video, "-c", "copy", here / "a.mxf")
    clip = process_clip(here / "a.mxf", **window)
    assert (clip.resample.timeline_from, clip.resample.clock) == ("frames", "order")
    assert clip.counters == expected_counters(frame_times(100, 25), 20 if window else 40, Fraction(1 if window else 0))


def test_frames_of_h264_with_b_frames_in_avi_are_timed_by_their_order(here):
    video = write_video(here / "a.mp4", frame_times(75, 25), b_frames=3)
    run_ffmpeg("-i", video, "-c", "copy", here / "a.avi")
    clip = process_clip(here / "a.avi")
    assert clip.counters == expected_counters(frame_times(75, 25))
    assert (clip.resample.timeline_from, clip.resample.clock) == ("frames", "order")


def test_a_packet_that_cannot_be_decoded_does_not_shift_the_times_of_later_frames(here):
    path = write_video(here / "a.avi", frame_times(50, 25), codec="mpeg4", gop=1, b_frames=0)
    with av.open(str(path)) as container:
        damaged = [bytes(packet) for packet in container.demux(video=0) if packet.size][20]
    path.write_bytes(path.read_bytes().replace(damaged, bytes(len(damaged))))
    expected = [19 if number == 20 else number for number in expected_counters(frame_times(50, 25))]
    assert process_clip(path).counters == expected


def test_frames_are_decoded_when_a_timestamp_occurs_twice(here):
    video = write_video(here / "a.mkv", frame_times(50, 25), b_frames=0)

    def repeat_timestamp(number, packet):
        if number % 10 == 5:
            packet.pts = packet.dts = packet.pts - 40

    clip = process_clip(copy_packets(video, here / "b.mkv", repeat_timestamp))
    assert (clip.resample.timeline_from, clip.resample.clock) == ("frames", "presentation")
    # The first of two frames with the same timestamp is on screen for no time at all.
    assert clip.counters == [number + (number % 10 == 4) for number in expected_counters(frame_times(50, 25))]


def test_frames_after_a_jump_back_in_time_are_dropped_as_a_player_drops_them(here):
    for name, start in (("early", 0), ("late", 3)):
        write_video(here / f"{name}.ts", frame_times(30, 10, Fraction(start)), b_frames=0, gop=30)
    path = here / "both.ts"
    path.write_bytes((here / "late.ts").read_bytes() + (here / "early.ts").read_bytes())
    clip = process_clip(path)
    assert (clip.resample.timeline_from, clip.resample.clock) == ("frames", "presentation")
    assert clip.counters == list(range(30))


def test_frames_that_an_edit_list_hides_are_not_shown(here):
    video = write_video(here / "a.mp4", frame_times(100, 25), gop=50, b_frames=2)
    path = here / "edited.mp4"
    run_ffmpeg("-ss", "1.2", "-i", video, "-c", "copy", path)  # a copy from the keyframe at 0 s, with an edit list
    with av.open(str(path)) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    assert process_clip(path).counters[:20] == [30 + number for number in expected_counters(frame_times(70, 25), 20)]


def test_hidden_reference_frames_of_vp8_are_not_counted(here):
    source = "testsrc2=size=128x96:rate=30:duration=4"
    vp8 = ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "20", "-b:v", "300k", "-arnr-maxframes", "5"]
    for number in (1, 2):  # libvpx makes hidden frames in the second pass only
        run_ffmpeg("-f", "lavfi", "-i", source, *vp8, "-pass", number, "-passlogfile", here / "log", here / "a.webm")
    with av.open(str(here / "a.webm")) as container:
        hidden = [not bytes(packet)[0] & 0x10 for packet in container.demux(video=0) if packet.size]
    assert any(hidden)
    assert len(hidden) - sum(hidden) == 120
    assert process_clip(here / "a.webm").resample.source_frames == 120
    assert len(read_frame_times(here / "a.webm", trust_packets=True).pts) == 120
