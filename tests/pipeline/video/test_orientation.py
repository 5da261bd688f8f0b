"""Frames are turned, mirrored and letterboxed as a player shows them."""

import numpy as np
import pytest

from pipeline.video.orientation import Orientation
from tests.pipeline.draw import LETTERBOX, frame_times, process_clip, run_ffmpeg, write_video
from tests.pipeline.reference import difference_from_ffmpeg, ticks_by_ffmpeg


def coloured_corners():
    """A picture whose four quarters are red, green, blue and black."""
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:48, :64], picture[:48, 64:], picture[48:, :64] = (220, 30, 30), (30, 220, 30), (30, 30, 220)
    return picture


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_rotated_video_is_turned_as_ffmpeg_turns_it(here, rotation):
    pictures = [coloured_corners()] * 20
    path = write_video(here / "a.mp4", frame_times(20, 10), pictures=pictures, rotation=rotation)
    expected = ticks_by_ffmpeg(path).pictures[0].astype(int)
    clip = process_clip(path)
    picture = clip.filmstrip[0].astype(int)
    assert np.abs(picture - expected).mean() < 6
    assert clip.resample.rotation % 360 == rotation
    for turns in (1, 2, 3):
        assert np.abs(np.rot90(picture, turns) - expected).mean() > 40


@pytest.mark.parametrize("flips", [[], ["-display_hflip"], ["-display_vflip"]], ids=["", "mirrored", "upside down"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_rotated_and_mirrored_video_is_shown_as_ffmpeg_shows_it(here, rotation, flips):
    video = write_video(here / "plain.mp4", frame_times(20, 10), pictures=[coloured_corners()] * 20)
    path = here / "turned.mp4"
    run_ffmpeg("-display_rotation", rotation, *flips, "-i", video, "-c", "copy", path)
    assert difference_from_ffmpeg(path) <= 3
    lit = process_clip(path, resize_settings=LETTERBOX, clip_id="letterbox").filmstrip[0].max(axis=2) > 20
    upright = rotation in (90, 270)
    assert lit.any(axis=1).sum() == pytest.approx(64 if upright else 48, abs=2)
    assert lit.any(axis=0).sum() == pytest.approx(48 if upright else 64, abs=2)


def test_orientation_transposes_before_it_flips():
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(Orientation(transpose=True, flip_vertical=True).apply(picture), np.rot90(picture, 1))
    assert np.array_equal(Orientation(transpose=True, flip_horizontal=True).apply(picture), np.rot90(picture, -1))


@pytest.mark.parametrize("rotation", [0, 90])
def test_letterbox_keeps_the_aspect_ratio_between_black_bars(here, rotation):
    white = np.full((64, 128, 3), 255, np.uint8)
    path = write_video(here / "a.mp4", frame_times(20, 10), pictures=[white] * 20, size=(128, 64), rotation=rotation)
    lit = process_clip(path, resize_settings=LETTERBOX).filmstrip[0][..., 1] > 128
    if rotation:
        lit = lit.T
    assert lit[16:48].all()
    assert not lit[:16].any()
    assert not lit[48:].any()


@pytest.mark.parametrize(("aspect", "width", "height"), [("2/1", 64, 32), ("1/2", 32, 64), ("1/1", 64, 64)])
def test_letterbox_respects_the_aspect_ratio_of_pixels(here, aspect, width, height):
    path = here / "a.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "color=white:size=128x128:rate=10:duration=2", "-vf", f"setsar={aspect}", path)
    lit = process_clip(path, resize_settings=LETTERBOX).filmstrip[0][..., 1] > 128
    assert (lit.any(axis=0).sum(), lit.any(axis=1).sum()) == (width, height)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, -90, 360])
def test_an_orientation_from_degrees_turns_counter_clockwise(degrees):
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(Orientation.from_rotation(degrees).apply(picture), np.rot90(picture, degrees // 90))
