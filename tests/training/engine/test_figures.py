"""Panels of labelled frames."""

import cv2
import numpy as np

from training.engine.figures import CELL, GAP, LEFT, SPACE, TITLE, TOP, Panel, draw_panels, write_png

RNG = np.random.default_rng(0)
PITCH = CELL + SPACE


def panel(frames, title="class"):
    return Panel(title, ["tick 20", "tick 40"], {"original": frames, "masked": frames[::-1]})


def cell(picture, row, column, left=0, top=0):
    """The pixels of a frame's place in the panel whose corner is at `left` and `top`."""
    y, x = top + GAP + TITLE + TOP + row * PITCH, left + GAP + LEFT + column * PITCH
    return picture[y : y + CELL, x : x + CELL]


def test_frames_are_enlarged_in_their_rows_and_columns_and_missing_ones_are_plain():
    first, second = RNG.integers(0, 255, (2, 32, 32, 3), np.uint8)
    picture = draw_panels([panel([first, second]), panel([first, None]), panel([second, first])], size=32)
    width, height = GAP + LEFT + 2 * PITCH, GAP + TITLE + TOP + 2 * PITCH
    assert picture.shape == (2 * height + GAP, 2 * width + GAP, 3)
    assert picture.dtype == np.uint8
    for row, column, frame in ((0, 0, first), (0, 1, second), (1, 0, second), (1, 1, first)):
        assert (cell(picture, row, column)[::4, ::4] == frame).all()
    assert (cell(picture, 0, 0, left=width)[::4, ::4] == first).all()
    assert len(np.unique(cell(picture, 0, 1, left=width))) == 1
    assert (cell(picture, 0, 0, top=height)[::4, ::4] == second).all()
    assert (picture[height + GAP :, width + GAP :] == 255).all()  # no fourth panel


def test_titles_and_labels_are_written_and_long_ones_cut_off():
    frame = np.zeros((32, 32, 3), np.uint8)
    picture = draw_panels([panel([frame, frame], title="swinging both arms, " * 10)], size=32, across=1)
    assert picture[GAP : GAP + TITLE].min() < 100
    assert picture[GAP + TITLE : GAP + TITLE + TOP, GAP + LEFT :].min() < 100
    assert picture[GAP + TITLE + TOP :, GAP : GAP + LEFT].min() < 100
    assert (picture[:, -GAP:] == 255).all()
    assert (draw_panels([panel([frame, frame], title="ä→")], size=32) < 100).any()


def test_panels_without_any_frame_are_drawn():
    assert (
        draw_panels([Panel("class", ["tick 20"], {"original": [None]})], size=64).shape[0]
        == 2 * GAP + TITLE + TOP + PITCH
    )


def test_a_picture_is_written_in_rgb(here):
    write_png(here / "plots/x.png", np.full((2, 3, 3), (250, 100, 5), np.uint8))
    assert (cv2.imread(str(here / "plots/x.png")) == (5, 100, 250)).all()
