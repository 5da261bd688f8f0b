"""Files that break off, packets that cannot be decoded and encrypted files: what is whole is kept, the rest has a reason."""

import av
import pytest

from pipeline.records.failures import ClipError
from pipeline.video.container import BrokenOffError, demux, demux_strictly, open_video
from pipeline.video.decode import timed_frames
from tests.pipeline.draw import frame_times, process_clip, run_ffmpeg, write_video


def write_real_video(path, seconds, *, kept):
    """RealVideo of which only a part of the bytes is left; its demuxer reports a cut packet as an error."""
    source = f"testsrc2=size=176x144:rate=10:duration={seconds}"
    run_ffmpeg("-f", "lavfi", "-i", source, "-c:v", "rv20", "-b:v", "200k", path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with open_video(path) as (container, stream), pytest.raises(BrokenOffError):
        list(demux_strictly(container, stream))
    return path


def test_a_file_that_breaks_off_after_the_clip_is_read(here):
    path = write_real_video(here / "a.rm", 20, kept=0.8)
    clip = process_clip(path)
    assert clip.resize.valid_frames == 100
    assert 13 < clip.trim.duration_s < 18


def test_a_file_that_breaks_off_within_the_clip_fails_with_the_second(here):
    path = write_real_video(here / "a.rm", 20, kept=0.3)
    with pytest.raises(ClipError, match=r"decode_error: the file breaks off at [4-7]\.\d\d s: Invalid data found"):
        process_clip(path)


def test_a_window_after_which_the_file_breaks_off_is_cut(here):
    path = write_real_video(here / "a.rm", 20, kept=0.8)
    assert process_clip(path, start_s=2.0, end_s=6.0).resize.valid_frames == 40
    with pytest.raises(ClipError, match="breaks off at"):
        process_clip(path, start_s=10.0, end_s=20.0)


@pytest.mark.parametrize(
    ("flags", "sound"),
    [
        pytest.param("faststart", ["-f", "lavfi", "-i", "anoisesrc=d=8", "-c:a", "aac", "-b:a", "256k"], id="sound"),
        pytest.param("frag_keyframe+empty_moov", [], id="fragments"),
    ],
)
def test_an_mp4_that_is_cut_short_within_the_clip_fails_with_the_second(here, flags, sound):
    """With sound, most cuts are within a packet of sound, after a whole frame."""
    picture = ["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=30:duration=8"]
    run_ffmpeg(*picture, *sound, "-c:v", "libx264", "-g", 250, "-movflags", flags, here / "a.mp4")
    assert process_clip(here / "a.mp4").resize.valid_frames == 80
    data = (here / "a.mp4").read_bytes()
    for kept in (0.2, 0.4, 0.6, 0.8):
        (here / "cut.mp4").write_bytes(data[: int(len(data) * kept)])
        with pytest.raises(ClipError, match=r"decode_error: the file breaks off at \d\.\d\d s"):
            process_clip(here / "cut.mp4")


def test_an_mp4_that_is_cut_short_after_the_clip_is_read(here):
    path = write_video(here / "a.mp4", frame_times(200, 10))
    run_ffmpeg("-i", path, "-c", "copy", "-movflags", "faststart", here / "b.mp4")
    data = (here / "b.mp4").read_bytes()
    (here / "b.mp4").write_bytes(data[: int(len(data) * 0.8)])
    clip = process_clip(here / "b.mp4")
    assert clip.counters == list(range(100))
    assert process_clip(here / "b.mp4", start_s=2.0, end_s=6.0).counters == list(range(20, 60))
    with pytest.raises(ClipError, match="breaks off at"):
        process_clip(here / "b.mp4", start_s=12.0, end_s=20.0)


class InterruptedContainer:
    """Demuxes one packet a call, and reports in between that there is no packet yet."""

    def __init__(self, packets):
        self.packets = list(packets)
        self.calls = 0

    def demux(self, stream):
        self.calls += 1
        if self.calls % 2:
            raise av.BlockingIOError(11, "Resource temporarily unavailable")
        while self.packets:
            yield self.packets.pop(0)
            if self.packets:
                raise av.BlockingIOError(11, "Resource temporarily unavailable")


def test_demux_reads_on_where_the_demuxer_has_no_packet_yet():
    packets = [av.Packet(1), av.Packet(2), av.Packet(3)]
    assert list(demux(InterruptedContainer(packets), None)) == packets


class StuckContainer:
    """Never has a packet."""

    def demux(self, stream):
        raise av.BlockingIOError(11, "Resource temporarily unavailable")
        yield


def test_demux_ends_if_the_demuxer_never_has_a_packet():
    assert list(demux(StuckContainer(), None)) == []


def test_a_packet_that_the_decoder_rejects_for_any_reason_is_skipped(here):
    with open_video(write_video(here / "a.mp4", frame_times(12, 10), b_frames=0)) as (container, stream):
        found = [time for time, _ in timed_frames(RejectingContainer(container), stream, "presentation")]
    assert len(found) == 11


class RejectingContainer:
    """Gives packets of which one cannot be decoded for another reason than invalid data."""

    def __init__(self, container):
        self.container = container

    def demux(self, stream):
        for number, packet in enumerate(self.container.demux(stream)):
            yield RejectedPacket(packet) if number == 5 else packet


class RejectedPacket:
    """A packet that the decoder rejects."""

    def __init__(self, packet):
        self.pts, self.dts, self.size, self.duration = packet.pts, packet.dts, packet.size, packet.duration

    def decode(self):
        raise av.ArgumentError(22, "Invalid argument")


def test_an_encrypted_mp4_fails_as_encrypted(here):
    video = write_video(here / "a.mp4", frame_times(30, 10))
    key = "00112233445566778899aabbccddeeff"
    scheme = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key]
    run_ffmpeg("-i", video, "-c", "copy", *scheme, here / "encrypted.mp4")
    with pytest.raises(ClipError, match=r"decode_error: the video is encrypted \(DRM\)"):
        process_clip(here / "encrypted.mp4")
