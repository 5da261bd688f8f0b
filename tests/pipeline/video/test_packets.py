"""Which packets are reliable enough to take frame times from, and which kind of timestamps they carry."""

from dataclasses import replace
from fractions import Fraction

import pytest

from pipeline.video.packets import PacketInfo, StreamPackets


def packets(pts, dts):
    """An H.264 stream of ten units per packet whose first packet is a keyframe."""
    infos = [PacketInfo(p, d, 10, number == 0, False) for number, (p, d) in enumerate(zip(pts, dts, strict=True))]
    shape = {"container": "mp4", "codec": "h264", "may_reorder": True, "reorders": False, "interlaced": False}
    return StreamPackets(infos, time_base=Fraction(1, 100), **shape)


PROGRESSIVE = packets([0, 30, 10, 20], [-10, 0, 10, 20])


def test_packets_with_complete_timestamps_are_reliable():
    assert PROGRESSIVE.reliable
    assert PROGRESSIVE.clock == "presentation"


@pytest.mark.parametrize(
    "unreliable",
    [
        pytest.param(packets([], []), id="no packet"),
        pytest.param(packets([0, None, 10, 20], [-10, 0, 10, 20]), id="a PTS is missing"),
        pytest.param(packets([0, 30, 10, 10], [-10, 0, 10, 20]), id="a PTS occurs twice"),
        pytest.param(packets([0, 30, 10, 20], [-10, 0, -5, 20]), id="DTS jump back"),
        pytest.param(replace(PROGRESSIVE, codec="cinepak"), id="codec may not hold one frame per packet"),
        pytest.param(replace(PROGRESSIVE, interlaced=True), id="packets may hold fields"),
        pytest.param(replace(PROGRESSIVE, packets=PROGRESSIVE.packets[1:]), id="starts without a keyframe"),
        pytest.param(replace(PROGRESSIVE, container="avi"), id="AVI has no presentation times"),
        pytest.param(replace(PROGRESSIVE, container="avi", may_reorder=False), id="AVI packets may hold no frame"),
    ],
)
def test_packets_with_a_defect_are_not_reliable(unreliable):
    assert not unreliable.reliable


def test_presentation_times_that_copy_the_decoding_times_give_the_order_of_frames_only():
    copied = packets([0, 10, 20], [0, 10, 20])
    assert copied.clock == "presentation"
    assert replace(copied, reorders=True).clock == "order"


def test_decoding_times_are_presentation_times_where_the_codec_does_not_reorder_frames():
    assert replace(packets([None, None], [0, 10]), codec="tscc", may_reorder=False).clock == "presentation"
    assert replace(packets([0, 10], [0, 10]), container="avi", may_reorder=False).clock == "presentation"


@pytest.mark.parametrize(("container", "codec"), [("mpegvideo", "mpeg1video"), ("dirac", "dirac")])
def test_made_up_timestamps_of_elementary_streams_are_not_used(container, codec):
    assert replace(PROGRESSIVE, container=container, codec=codec).clock == "rate"


def test_streams_without_presentation_times_are_ordered_by_decoding_times_or_by_rate():
    assert packets([None, None], [0, 10]).clock == "order"
    assert packets([None, None], [None, None]).clock == "rate"
