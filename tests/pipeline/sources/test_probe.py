"""The probe of files that have arrived: damage at the beginning that a player passes over is no loss."""

from pathlib import Path

import av
import pytest

from pipeline.records.failures import ClipError, Failure
from pipeline.sources.clips import Arrival
from pipeline.sources.probe import ProbeSettings, probe
from tests.pipeline.draw import run_ffmpeg


def write_damaged(folder: Path, codec: str, damaged: int) -> Path:
    """A video of ten frames in NUT, of which the first `damaged` packets have two bytes 0xff each."""
    whole, path = folder / "whole.nut", folder / "damaged.nut"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=1", "-c:v", codec, "-g", 1, whole)
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            copy = av.Packet(b"\xff\xff" if number < damaged else bytes(packet))
            copy.pts, copy.dts, copy.time_base, copy.is_keyframe = packet.pts, packet.dts, packet.time_base, True
            copy.stream = stream
            output.mux(copy)
    return path


def decode_first_packet(path: Path) -> None:
    with av.open(str(path)) as container:
        next(container.demux(video=0)).decode()


# Raised by the decoder for the first packet; FFmpeg's PermissionError is a plain -1 of the decoder, not encryption.
ERRORS = {"mpeg4": av.InvalidDataError, "yuv4": av.ArgumentError, "wmv1": av.PermissionError}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("codec", ERRORS)
def test_first_packet_that_the_decoder_rejects_for_any_reason_is_skipped(tmp_path: Path, codec: str, whole: bool):
    path = write_damaged(tmp_path, codec, damaged=1)
    with pytest.raises(ERRORS[codec]):
        decode_first_packet(path)
    assert probe(Arrival(path, ""), ProbeSettings(whole)).bytes == path.stat().st_size


@pytest.mark.parametrize("codec", ERRORS)
def test_video_of_which_no_packet_can_be_decoded_fails(tmp_path: Path, codec: str):
    path = write_damaged(tmp_path, codec, damaged=10)
    with pytest.raises(ClipError, match="the first keyframe cannot be decoded") as raised:
        probe(Arrival(path, ""), ProbeSettings(whole=False))
    assert raised.value.code is Failure.DECODE_ERROR
