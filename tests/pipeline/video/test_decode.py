"""The decoder skips frames that no tick shows, without a change to those that are shown; damage is noticed."""

import av
import numpy as np
import pytest

from pipeline.records.failures import ClipError
from pipeline.resize import resize
from pipeline.video import filmstrip
from pipeline.video.container import open_video
from pipeline.video.decode import timed_frames
from pipeline.video.filmstrip import decode_ticks
from tests.pipeline.draw import JPEG, frame_times, process_clip, write_video


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("libx265", "mp4"), ("libvpx-vp9", "webm")])
def test_skipping_frames_gives_the_same_pixels_as_decoding_all(here, codec, suffix):
    path = write_video(here / f"a.{suffix}", frame_times(300, 50), codec=codec, gop=60, b_frames=3)
    resampled = process_clip(path).resample
    assert resampled.timeline_from == "packets"
    ticks = []
    for skip in (True, False):
        with open_video(path) as opened:
            ticks.append(
                decode_ticks(*opened, resampled.timeline, clock="presentation", size=64, fit="stretch", skip=skip)
            )
    assert np.array_equal(*ticks)


def test_the_decoder_skips_frames_that_are_not_wanted(here):
    path = write_video(here / "a.mp4", frame_times(300, 50), gop=60, b_frames=3)
    wanted = set(process_clip(path).resample.timeline)
    with open_video(path) as (container, stream):
        decoded = {time for time, _ in timed_frames(container, stream, "presentation", wanted)}
    assert wanted <= decoded
    assert len(decoded) < 250


@pytest.mark.parametrize("skip", [True, False])
def test_ticks_are_decoded_with_skipping_only_where_it_is_asked_for(here, monkeypatch, skip):
    path = write_video(here / "a.mp4", frame_times(300, 50), gop=60, b_frames=3)
    timeline = process_clip(path).resample.timeline
    decoded = []

    def recorded(*arguments):
        for time, frame in timed_frames(*arguments):
            decoded.append(time)
            yield time, frame

    monkeypatch.setattr(filmstrip, "timed_frames", recorded)
    with open_video(path) as opened:
        decode_ticks(*opened, timeline, clock="presentation", size=64, fit="stretch", skip=skip)
    frames_up_to_the_last_tick = 296  # tick 59 at 5.9 s shows frame 295
    assert len(decoded) < 250 if skip else len(decoded) == frames_up_to_the_last_tick


def test_a_damaged_frame_on_the_timeline_fails_with_its_time(here):
    path = write_video(here / "a.mp4", frame_times(60, 10), gop=60, b_frames=0)
    resampled = process_clip(path).resample
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    damaged = packets[30]
    data[damaged.pos : damaged.pos + damaged.size] = bytes(damaged.size)
    path.write_bytes(data)
    with pytest.raises(ClipError, match=r"decode_error.* 3\.00 s"):
        resize(resampled, JPEG)
