"""Files that are not videos fail with a code, and file names are only ever names."""

import av
import pytest

from pipeline.records.failures import ClipError, Failure
from pipeline.video.container import demux, open_video
from tests.pipeline.draw import (
    expected_counters,
    frame_times,
    process_clip,
    run_ffmpeg,
    write_audio,
    write_video,
)


def write_playlist(path):
    """A list that tells FFmpeg to read another file."""
    write_video(path.parent / "other.mp4", frame_times(20, 10))
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")


NOT_VIDEOS = {
    "missing": (lambda path: None, Failure.NOT_FOUND),
    "folder": (lambda path: path.mkdir(), Failure.UNREADABLE_CONTAINER),
    "empty file": (lambda path: path.touch(), Failure.UNREADABLE_CONTAINER),
    "text": (lambda path: path.write_text("this is not a video\n" * 500), Failure.UNREADABLE_CONTAINER),
    "list of other files": (write_playlist, Failure.UNREADABLE_CONTAINER),
    "audio only": (write_audio, Failure.NO_VIDEO_STREAM),
}


@pytest.mark.parametrize("kind", NOT_VIDEOS)
def test_a_path_without_a_video_fails_with_its_code(here, kind):
    make, code = NOT_VIDEOS[kind]
    make(here / "a.mp4")
    with pytest.raises(ClipError) as caught, open_video(here / "a.mp4"):
        pass
    assert caught.value.code is code


def test_cover_art_is_not_a_video(here):
    path = here / "a.mp3"
    sources = ["-f", "lavfi", "-i", "anullsrc", "-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", "-t", "1"]
    tags = ["-c:v", "png", "-disposition:v", "attached_pic", "-c:a", "libmp3lame"]
    run_ffmpeg(*sources, "-map", "0", "-map", "1", *tags, path)
    with pytest.raises(ClipError, match="no_video_stream"):
        process_clip(path)


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "http:x.mp4", "-i.mp4", "%03d.mp4"])
def test_a_file_name_is_never_read_as_a_protocol_option_or_pattern(here, name):
    write_video(here / "plain.mp4", frame_times(40, 10)).rename(here / name)
    assert process_clip(name, start_s=1.0, end_s=3.0).counters == list(range(10, 30))


def test_a_stream_that_first_appears_in_mid_file_is_ignored(here):
    """Audio that the header does not announce, later than FFmpeg probes the file."""
    sound = ["-itsoffset", "12", "-f", "lavfi", "-i", "anullsrc=r=44100:cl=mono", "-c:a", "libmp3lame"]
    video = write_video(here / "a.mp4", frame_times(300, 20), b_frames=0)
    path = here / "a.flv"
    run_ffmpeg("-i", video, *sound, "-c:v", "copy", "-t", "15", path)
    data = bytearray(path.read_bytes())
    data[4] = 1  # header flags: video only
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    assert process_clip(path).counters == expected_counters(frame_times(300, 20))


def test_demux_goes_on_after_a_packet_of_a_stream_that_pyav_does_not_know():
    class Container:
        """Demuxes one packet, fails as PyAV does for an unknown stream, and on the next call goes on with the second."""

        calls = 0

        def demux(self, stream):
            self.calls += 1
            yield packets[self.calls - 1]
            if self.calls == 1:
                raise IndexError

    packets = [av.Packet(1), av.Packet(2)]
    assert list(demux(Container(), None)) == packets
