"""Measures of a clip's frames, as columns of resize.parquet: motion, sharpness, brightness, and a fingerprint.

They are of the decoded frames, before they are compressed, and all sums are of integers, so that equal frames give equal values
on every machine.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLES = 16  # frames that sharpness and fingerprint are of, evenly spread over the clip
_GRID = 8  # cells along each side of a frame, in the fingerprint
_TEMPORAL, _SPATIAL = 4, 8  # lowest frequencies along time and along each side of the frame
BITS = _TEMPORAL * _SPATIAL**2
_LEAST = 0.1  # grey levels, root mean square; a smaller amplitude is noise, and its bit is 0
_ENOUGH = 32  # larger amplitudes that a fingerprint needs; black clips have none
_SCALE = 256  # of the integer basis of the cosine transform
_RED, _GREEN, _BLUE = 77, 150, 29  # weights of luma (BT.601) in 256ths


@dataclass(frozen=True)
class Quality:
    """The measures of one clip; `pipeline.records.rows.ResizeRow` says what they mean."""

    motion: float
    sharpness: float
    brightness: float
    fingerprint: str | None


def measure(frames: NDArray[np.uint8]) -> Quality:
    """The measures of `(T, S, S, 3) uint8` RGB, a clip's own frames without padding; S is a multiple of 8."""
    luma = _luma(frames[_sample_ticks(len(frames))])
    return Quality(_motion(frames), _sharpness(luma), _brightness(frames), _fingerprint(luma))


def _sample_ticks(count: int) -> NDArray[np.int64]:
    """The middles of `SAMPLES` equal parts of `count` ticks."""
    return (2 * np.arange(SAMPLES) + 1) * count // (2 * SAMPLES)


def _luma(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`(T, S, S)`: luma of each pixel, rounded."""
    red, green, blue = (frames[..., channel].astype(np.uint16) for channel in range(3))
    return np.asarray((red * _RED + green * _GREEN + blue * _BLUE + 128) >> 8, np.uint8)


def _motion(frames: NDArray[np.uint8]) -> float:
    if len(frames) == 1:
        return 0.0
    rows = frames.reshape(len(frames), -1)
    total = cv2.norm(rows[1:], rows[:-1], cv2.NORM_L1)  # a sum of integers below 2**53: exact
    return float(total / (255 * rows[1:].size))


def _brightness(frames: NDArray[np.uint8]) -> float:
    red, green, blue, _ = cv2.sumElems(frames.reshape(-1, frames.shape[2], 3))
    return float((red * _RED + green * _GREEN + blue * _BLUE) / (256 * 255 * frames[..., 0].size))


def _sharpness(luma: NDArray[np.uint8]) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al., 2000), mean over the frames."""
    edges = np.stack([cv2.Laplacian(frame, cv2.CV_16S, borderType=cv2.BORDER_REPLICATE) for frame in luma])
    flat = edges.reshape(len(luma), -1).astype(np.int64)
    count = flat.shape[1]
    variances = count * (flat**2).sum(axis=1) - flat.sum(axis=1) ** 2
    return int(variances.sum()) / (len(luma) * count**2 * 255**2)


def _fingerprint(luma: NDArray[np.uint8]) -> str | None:
    """Signs of the low frequencies of a cosine transform over time and space (after Coskun, Sankur and Memon, 2006).

    Those of time frequency 0 tell what a clip shows, the others how it moves; each is little changed by compression and scale.
    """
    frames, side, _ = luma.shape
    cell = side // _GRID
    cells = luma.reshape(frames, _GRID, cell, _GRID, cell).sum(axis=(2, 4), dtype=np.int64)
    # Products of integers: exact in float64, in any order.
    over_time = np.tensordot(_cosines(_TEMPORAL, frames), cells.astype(np.float64), 1)
    amplitudes = _cosines(_SPATIAL, _GRID) @ over_time @ _cosines(_SPATIAL, _GRID).T
    amplitudes[0, 0, 0] = 0  # brightness
    least = _LEAST * _SCALE**3 * frames * side**2 / _norms()
    if np.count_nonzero(np.abs(amplitudes) > least) < _ENOUGH:
        return None
    return np.packbits(amplitudes > least).tobytes().hex()


def _norms() -> NDArray[np.float64]:
    """What amplitudes are multiplied by to be root mean squares over the clip: the square root of 2 for each frequency but 0."""
    places = np.indices((_TEMPORAL, _SPATIAL, _SPATIAL))
    return np.asarray(np.sqrt(2.0 ** np.count_nonzero(places, axis=0)), np.float64)


@lru_cache(maxsize=4)
def _cosines(frequencies: int, count: int) -> NDArray[np.float64]:
    """The lowest basis functions of the cosine transform (DCT-II) of `count` values, in integers: `(frequencies, count)`."""
    places = np.pi * np.outer(np.arange(frequencies), 2 * np.arange(count) + 1) / (2 * count)
    return np.asarray(np.rint(_SCALE * np.cos(places)), np.float64)
