"""Area resize equals the mean over each output cell."""

import cv2
import numpy as np
import pytest

from pipeline.video.area import area_resize


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(64, 64), (65, 64), (64, 129), (256, 340), (719, 1279), (720, 1280)])
def test_area_resize_equals_opencv_inter_area_in_double_precision(shape, dtype):
    plane = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    expected = cv2.resize(plane.astype(np.float64), (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(area_resize(plane, 64, 64) - expected).max() <= 1e-6 * np.iinfo(dtype).max


def test_area_resize_of_three_samples_to_two_shares_the_middle_one():
    plane = np.array([[0, 30, 60]], np.uint8).repeat(2, 0)
    assert area_resize(plane, 2, 1).tolist() == [[pytest.approx(10), pytest.approx(50)]]


def test_area_resize_enlarges_by_linear_interpolation():
    plane = np.array([[0, 100]], np.uint8)
    assert area_resize(plane, 4, 1).tolist() == [[0, 25, 75, 100]]


def test_area_resize_averages_one_axis_and_interpolates_the_other():
    plane = np.array([[0, 20, 40, 60]], np.uint8)
    assert area_resize(plane, 2, 3).tolist() == [[10, 50]] * 3
