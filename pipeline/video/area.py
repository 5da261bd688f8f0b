"""Area resize: each output sample is the mean of the rectangle that it covers in the input.

Sums over rectangles come from the integral image (summed-area table; Crow, SIGGRAPH 1984), interpolated linearly
between its samples. This is exact for rectangles whose edges fall between samples: the result equals OpenCV's
INTER_AREA, whose implementation for non-integer factors is scalar and slower.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8] | NDArray[np.uint16]

# A sum of 8-bit samples fits a 32-bit integer up to this plane size; larger sums are exact in double precision.
_MAX_INT32_SAMPLES = (1 << 31) // 255


def area_resize(plane: Plane, width: int, height: int) -> NDArray[np.float32]:
    """Resize `plane`, `(H, W)`, to `(height, width)`, without rounding.

    Averages along an axis that shrinks; interpolates linearly along an axis that grows.
    """
    rows, columns = plane.shape
    if columns < width or rows < height:
        return _enlarge(plane.astype(np.float32), width, height)
    fits_int32 = plane.dtype == np.uint8 and plane.size <= _MAX_INT32_SAMPLES
    integral = cv2.integral(plane, sdepth=cv2.CV_32S if fits_int32 else cv2.CV_64F)
    index, weight = _corner_samples(rows, columns, height, width)
    corners = (integral.ravel().take(index) * weight).sum(0)
    row_sums = corners[1:] - corners[:-1]
    return np.asarray(row_sums[:, 1:] - row_sums[:, :-1], np.float32)


def _enlarge(plane: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Resize a plane of which at least one axis grows; the other may shrink."""
    rows, columns = plane.shape
    if columns > width or rows > height:
        shrunk = cv2.resize(plane, (min(columns, width), min(rows, height)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


@lru_cache(maxsize=64)
def _corner_samples(rows: int, columns: int, height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Flat indices into the integral image and their weights, each `(K, height + 1, width + 1)`.

    The weighted sum over K interpolates the integral image at the corners of all output samples, scaled so that the
    difference of corners is a mean. K is 4, or less where the corners fall on samples.
    """
    row, below = _edges(rows, height)
    column, right = _edges(columns, width)
    stride = columns + 1
    index = np.stack([(row + down)[:, None] * stride + column + across for down in (0, 1) for across in (0, 1)])
    weight = np.stack(
        [np.outer(vertical, horizontal) for vertical in (1 - below, below) for horizontal in (1 - right, right)]
    )
    needed = weight.any(axis=(1, 2))
    return index[needed], weight[needed] * (height * width / (rows * columns))


def _edges(samples: int, cells: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The edges of `cells` equal cells along `samples` samples, as whole samples and fractions."""
    edge = np.arange(cells + 1) * samples / cells
    whole = edge.astype(np.intp)
    fraction = edge - whole
    # The last edge is the plane's border: reading one sample beyond it for interpolation would be out of range.
    whole[-1], fraction[-1] = (samples - 1, 1.0) if fraction.any() else (samples, 0.0)
    return whole, fraction
