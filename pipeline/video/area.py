"""Area resize: every sample of the small plane is the average of the rectangle that it covers in the large one.

Averages are taken from the integral image (Crow, SIGGRAPH 1984). Interpolated linearly between its samples it is the
exact integral of the plane up to any point, so four look-ups give the sum over any rectangle, however its edges fall
between samples: the values of OpenCV's INTER_AREA, without its pass over every sample in scalar code.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

# Sums of 8-bit samples fit 32 bits up to here; double precision holds any sum exactly.
_MAX_IN_32_BITS = (1 << 31) // 255


def area_resize(plane: NDArray, width: int, height: int) -> NDArray[np.float32]:
    """`plane`, `(H, W)` of uint8 or uint16, as `(height, width)`, not rounded.

    Area average where the plane shrinks; linear interpolation where it grows (each axis by itself).
    """
    rows, columns = plane.shape
    if columns < width or rows < height:
        grown = plane.astype(np.float32)
        if columns > width or rows > height:
            grown = cv2.resize(grown, (min(columns, width), min(rows, height)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(grown, (width, height), interpolation=cv2.INTER_LINEAR))
    in_32_bits = plane.dtype == np.uint8 and plane.size <= _MAX_IN_32_BITS
    integral = cv2.integral(plane, sdepth=cv2.CV_32S if in_32_bits else cv2.CV_64F)
    index, weight = _look_ups(rows, columns, height, width)
    up_to = (integral.ravel().take(index) * weight).sum(0)
    bands = up_to[1:] - up_to[:-1]
    return (bands[:, 1:] - bands[:, :-1]).astype(np.float32)


@lru_cache(maxsize=64)
def _look_ups(rows: int, columns: int, height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Which samples of the integral image to read, and their weights, each `(K, height + 1, width + 1)`.

    K is 4, or less where all edges of an axis fall between samples.
    """
    top, below = _edges(rows, height)
    left, beyond = _edges(columns, width)
    stride = columns + 1
    index = np.stack([(top + down)[:, None] * stride + left + right for down in (0, 1) for right in (0, 1)])
    weight = np.stack(
        [np.outer(vertical, across) for vertical in (1 - below, below) for across in (1 - beyond, beyond)]
    )
    needed = weight.any(axis=(1, 2))
    return index[needed], weight[needed] * (height * width / (rows * columns))


def _edges(samples: int, cells: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Where `cells` equal cells meet along `samples` samples: the whole sample before each edge, and the rest."""
    edge = np.arange(cells + 1) * samples / cells
    whole = edge.astype(np.intp)
    rest = edge - whole
    # The last edge is the plane's own; where rests are read, it must not read beyond.
    whole[-1], rest[-1] = (samples - 1, 1.0) if rest.any() else (samples, 0.0)
    return whole, rest
