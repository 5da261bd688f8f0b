"""Motion, sharpness, brightness and fingerprint tell frozen, black, blurred and copied clips from others."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from scipy.fft import dctn
from scipy.ndimage import laplace

from pipeline.video.quality import BITS, SAMPLES, measure
from tests.pipeline.draw import frame_times, process_clip, run_ffmpeg, write_video


def drifting(seed, frames=30, size=(128, 96), step=3):
    """A picture of its own, smooth noise with contrast, that drifts by `step` pixels a frame."""
    rng = np.random.default_rng(seed)
    width, height = size
    wide = cv2.GaussianBlur(rng.integers(0, 256, (height, width + step * frames, 3), dtype=np.uint8), (0, 0), 5)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
    return [wide[:, step * tick : step * tick + width] for tick in range(frames)]


def processed(path, pictures, times=None, **options):
    """The row of resize of a video with these pictures."""
    height, width = pictures[0].shape[:2]
    write_video(path, times or frame_times(len(pictures), 10), pictures=pictures, size=(width, height), **options)
    return process_clip(path).resize


def distance(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


# Against independent implementations


@pytest.mark.parametrize(("ticks", "side"), [(100, 64), (37, 64), (20, 112), (16, 8), (3, 32)])
def test_measures_are_those_of_numpy_and_scipy(ticks, side):
    rng = np.random.default_rng(ticks)
    frames = rng.integers(0, 256, (ticks, side, side, 3), dtype=np.uint8)
    frames[:, : side // 2] //= 3
    found = measure(frames)
    weights = np.array([77, 150, 29]) / 256
    assert found.motion == pytest.approx(np.abs(np.diff(frames.astype(float), axis=0)).mean() / 255, rel=1e-12)
    assert found.brightness == pytest.approx((frames @ weights).mean() / 255, rel=1e-12)
    chosen = frames[[int((number + 0.5) * ticks / SAMPLES) for number in range(SAMPLES)]]
    luma = np.floor(chosen @ weights + 0.5)
    variances = [laplace(frame / 255, mode="nearest").var() for frame in luma]
    assert found.sharpness == pytest.approx(np.mean(variances), rel=1e-9)


def test_fingerprint_has_the_signs_of_a_cosine_transform():
    frames = np.stack([cv2.resize(picture, (64, 64)) for picture in drifting(0, frames=40)])
    luma = np.floor(
        frames[[int((number + 0.5) * 40 / SAMPLES) for number in range(SAMPLES)]] @ [77, 150, 29] / 256 + 0.5
    )
    cells = luma.reshape(SAMPLES, 8, 8, 8, 8).mean(axis=(2, 4))
    amplitudes = dctn(cells, norm="ortho")[:4] / np.sqrt(cells.size)  # root mean squares, grey levels
    amplitudes[0, 0, 0] = 0
    expected = amplitudes.ravel() > 0.1
    clear = np.abs(amplitudes.ravel() - 0.1) > 0.02  # the basis of the fingerprint is rounded to integers
    found = np.unpackbits(np.frombuffer(bytes.fromhex(measure(frames).fingerprint), np.uint8)).astype(bool)
    assert len(found) == BITS == 256
    assert clear.sum() > 150
    assert np.array_equal(found[clear], expected[clear])


def test_threads_of_opencv_do_not_change_the_values():
    frames = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 3), dtype=np.uint8)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = measure(frames)
        cv2.setNumThreads(4)
        assert measure(frames) == alone
    finally:
        cv2.setNumThreads(before)


# Clips that are of little use


def test_frozen_clip_has_no_motion(tmp_path):
    still = drifting(1)[0]
    row = processed(tmp_path / "frozen.mp4", [still] * 30, gop=60, b_frames=0)
    assert row.motion < 0.001  # not 0: an encoder improves a still picture with each frame
    moving = processed(tmp_path / "moving.mp4", drifting(1))
    assert moving.motion > 0.02
    assert row.sharpness == pytest.approx(moving.sharpness, rel=0.5)
    same = np.repeat(cv2.resize(still, (64, 64))[None], 20, axis=0)
    assert measure(same).motion == 0.0


def test_black_clip_is_dark_and_has_no_fingerprint(tmp_path):
    row = processed(tmp_path / "black.mp4", [np.zeros((96, 128, 3), np.uint8)] * 20)
    assert row.brightness < 0.01
    assert (row.motion, row.sharpness, row.fingerprint) == (0.0, 0.0, None)
    white = processed(tmp_path / "white.mp4", [np.full((96, 128, 3), 255, np.uint8)] * 20)
    assert white.brightness > 0.99
    assert white.fingerprint is None


def test_blurred_clip_is_less_sharp_and_as_bright(tmp_path):
    rng = np.random.default_rng(2)
    sharp = [
        cv2.resize(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), (128, 96), interpolation=cv2.INTER_NEAREST)
    ] * 12
    blurred = [cv2.GaussianBlur(picture, (0, 0), 8) for picture in sharp]
    one, other = processed(tmp_path / "sharp.mp4", sharp), processed(tmp_path / "blurred.mp4", blurred)
    assert other.sharpness < one.sharpness / 50
    assert other.brightness == pytest.approx(one.brightness, abs=0.02)


def test_tiny_noise_is_little_motion_and_no_other_fingerprint():
    rng = np.random.default_rng(3)
    still = np.repeat(cv2.resize(drifting(4)[0], (64, 64))[None], 50, axis=0)
    noisy = np.clip(still.astype(int) + rng.integers(-2, 3, still.shape), 0, 255).astype(np.uint8)
    found = measure(noisy)
    assert 0 < found.motion < 0.01
    assert distance(found.fingerprint, measure(still).fingerprint) <= 4


def test_short_clip_with_a_variable_rate_is_measured_without_padding(tmp_path):
    times = [Fraction(n, 10) for n in (0, 1, 2, 6, 7, 12, 13)]  # on screen at ticks: 0 1 2 2 2 2 6 7 7 ...
    black, white = np.zeros((96, 128, 3), np.uint8), np.full((96, 128, 3), 255, np.uint8)
    row = processed(tmp_path / "vfr.mp4", [black, black, black, white, white, white, white], times=times)
    assert row.valid_frames == 17
    assert row.motion == pytest.approx(1 / 16, rel=0.02)  # one change in 16 steps; padding would add others
    assert row.brightness == pytest.approx(11 / 17, rel=0.02)
    assert row.fingerprint is None  # empty pictures, and a change of brightness


def test_single_frame_has_no_motion_and_a_fingerprint():
    picture = cv2.resize(drifting(5)[0], (64, 64))[None]
    found = measure(picture)
    assert found.motion == 0.0
    assert found.fingerprint == measure(np.repeat(picture, 100, axis=0)).fingerprint


# Copies


def test_copy_of_another_size_rate_and_quality_has_almost_the_same_fingerprint(tmp_path):
    originals = [
        processed(tmp_path / f"{seed}.mp4", drifting(seed, frames=60), options={"crf": "12"}) for seed in range(6)
    ]
    copies = []
    for seed in range(6):
        path = tmp_path / f"copy{seed}.mkv"
        run_ffmpeg("-i", tmp_path / f"{seed}.mp4", "-vf", "scale=86:64", "-r", "25", "-crf", "34", path)
        copies.append(process_clip(path).resize)
    for number, copy in enumerate(copies):
        assert copy.sha256 != originals[number].sha256
        distances = [distance(copy.fingerprint, original.fingerprint) for original in originals]
        assert distances[number] <= 16
        assert min(distances[:number] + distances[number + 1 :]) > 40


def test_same_place_with_another_movement_has_another_fingerprint():
    """A still camera: two clips of a small square that moves along the top or down the side."""
    place = np.stack([cv2.resize(drifting(6)[0], (64, 64))] * 50)
    across, down = place.copy(), place.copy()
    for tick in range(50):
        across[tick, 4:16, tick : tick + 12] = 255
        down[tick, tick : tick + 12, 4:16] = 255
    assert distance(measure(across).fingerprint, measure(down).fingerprint) > 40
