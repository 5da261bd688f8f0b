"""One decoded frame to one small RGB picture, without ever making a full-size RGB frame.

The Y, U and V planes are area-resized apart and colour is converted at the small size: area resize and the colour
matrix are both linear, so their order does not matter but for rounding, and full-frame conversion can cost twice the
decode itself.
"""

from functools import lru_cache

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

# Planar YUV: bits per sample, and by how many halvings chroma is narrower and lower than luma.
_PLANAR = {
    name: (bits, *layout)
    for layout_name, layout in {"420": (1, 1), "422": (1, 0), "444": (0, 0), "411": (2, 0), "440": (0, 1)}.items()
    for name, bits in {
        f"yuv{layout_name}p": 8,
        f"yuvj{layout_name}p": 8,
        f"yuv{layout_name}p10le": 10,
        f"yuv{layout_name}p12le": 12,
    }.items()
}
# Luma weights (red, blue) by AVColorSpace; what a stream leaves unsaid is 601 below 720 lines and 709 above, as players do.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
_WEIGHTS |= {9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_FULL_RANGE = 2
_IDENTITY = 0  # "YUV" that is RGB


def to_picture(frame: VideoFrame, width: int, height: int) -> Picture:
    """Area-resize `frame` to `(height, width, 3) uint8` RGB by its own matrix, range, depth and chroma layout."""
    layout = _PLANAR.get(frame.format.name)
    if layout is None or frame.colorspace == _IDENTITY:
        # Rare layouts (palette, packed, RGB): FFmpeg converts the full frame.
        return _resize(frame.to_ndarray(format="rgb24"), width, height)
    bits, _, _ = layout
    planes = [_resize(_view(frame, index, bits), width, height) for index in range(3)]
    full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
    matrix = _matrix(_colorspace(frame), full, bits)
    merged = cv2.merge(planes)
    if bits == 8:
        return np.asarray(cv2.transform(merged, matrix), dtype=np.uint8)
    rgb = cv2.transform(merged.astype(np.float32), matrix)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _view(frame: VideoFrame, index: int, bits: int) -> NDArray:
    """A plane of the decoder's own buffer as an array, no copy."""
    plane = frame.planes[index]
    kind = np.uint8 if bits == 8 else np.uint16
    rows = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // np.dtype(kind).itemsize)
    return rows[: plane.height, : plane.width]


def _resize(plane: NDArray, width: int, height: int) -> NDArray:
    """Area average where the picture shrinks, linear where it grows (each axis by itself)."""
    rows, columns = plane.shape[:2]
    if columns >= width and rows >= height:
        return cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    shrunk = plane
    if columns > width or rows > height:
        shrunk = cv2.resize(plane, (min(columns, width), min(rows, height)), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def _colorspace(frame: VideoFrame) -> int:
    known = int(frame.colorspace)
    return known if known in _WEIGHTS else (1 if frame.height >= 720 else 5)


@lru_cache(maxsize=64)
def _matrix(colorspace: int, full: bool, bits: int) -> NDArray[np.float32]:
    """The 3x4 affine map from Y, U, V samples of `bits` bits to R, G, B from 0 to 255 (ITU-R BT.601, 709, 2020)."""
    red, blue = _WEIGHTS[colorspace]
    green = 1 - red - blue
    scale = 1 << (bits - 8)
    if full:
        top = (256 * scale) - 1
        luma, chroma, black = 255 / top, 255 / top, 0.0
    else:
        luma, chroma, black = 255 / (219 * scale), 255 / (224 * scale), 16.0 * scale
    to_rgb = np.array(
        [
            [luma, 0, 2 * (1 - red) * chroma],
            [luma, -2 * (1 - blue) * blue / green * chroma, -2 * (1 - red) * red / green * chroma],
            [luma, 2 * (1 - blue) * chroma, 0],
        ]
    )
    offset = -to_rgb @ np.array([black, 128 * scale, 128 * scale])
    return np.hstack([to_rgb, offset[:, None]]).astype(np.float32)
