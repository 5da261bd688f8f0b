"""Filmstrip images keep frames apart and colours intact, and are decoded back to the same frames."""

import cv2
import numpy as np
import pytest

from pipeline.video.filmstrip import decode, encode


def test_frames_of_a_filmstrip_do_not_blend_into_each_other():
    frames = np.zeros((4, 64, 64, 3), np.uint8)
    frames[1::2] = 255
    image = cv2.imdecode(np.frombuffer(encode(frames, format="jpg", quality=95), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (256, 64, 3)
    assert np.abs(image.reshape(4, 64, 64, 3).astype(int) - frames).max() <= 1


def test_webp_at_quality_100_is_lossless():
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    data = encode(frames, format="webp", quality=100)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(image[..., ::-1].reshape(frames.shape), frames)
    assert np.array_equal(decode(data, 64), frames)


def test_jpeg_keeps_full_chroma_resolution():
    stripes = np.zeros((2, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = (255, 0, 0)
    stripes[:, :, 1::2] = (0, 0, 255)
    # With subsampled chroma each pair of columns would have the same purple.
    decoded = decode(encode(stripes, format="jpg", quality=95), 64)
    assert np.abs(decoded.astype(int) - stripes).mean() < 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image"),
        (b"this is not an image", "not an image"),
        (encode(np.zeros((2, 32, 32, 3), np.uint8), format="jpg", quality=95), "an image of 32x64 is not a filmstrip"),
        (encode(np.zeros((3, 96, 64, 3), np.uint8), format="jpg", quality=95), "an image of 64x288 is not a filmstrip"),
    ],
)
def test_bytes_that_are_not_a_filmstrip_are_rejected(data, message):
    with pytest.raises(ValueError, match=message):
        decode(data, 64)
