"""One decoded frame to one small RGB picture, without ever making a full-size RGB frame.

The planes are area-resized apart and colour is converted at the small size: area resize and the colour matrix are both
linear, so their order does not matter but for rounding, and full-frame conversion can cost twice the decode itself.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from pipeline.video.area import area_resize

Picture = NDArray[np.uint8]


class Layout(NamedTuple):
    """How a pixel format lies in memory: bits per sample, and which channels (Y, U, V or R, G, B) each plane holds."""

    bits: int
    planes: Sequence[Sequence[int]]
    rgb: bool = False


def _layouts() -> dict[str, Layout]:
    depths = {8: "", 9: "9le", 10: "10le", 12: "12le", 14: "14le", 16: "16le"}
    planar, gray, gbr = [(0,), (1,), (2,)], [(0,)], [(1,), (2,), (0,)]
    known = {f"yuvj{chroma}p": Layout(8, planar) for chroma in ("420", "422", "444", "411", "440")}
    for bits, suffix in depths.items():
        for chroma in ("420", "422", "444", "411", "410", "440"):
            known[f"yuv{chroma}p{suffix}"] = known[f"yuva{chroma}p{suffix}"] = Layout(bits, planar)
        known[f"gray{suffix}"] = Layout(bits, gray)
        known[f"gbrp{suffix}"] = known[f"gbrap{suffix}"] = Layout(bits, gbr, rgb=True)
    known |= {name: Layout(8, [(0,), (1, 2)]) for name in ("nv12", "nv16", "nv24")} | {
        "nv21": Layout(8, [(0,), (2, 1)])
    }
    # p010 and its kin hold their bits at the top of 16.
    return known | {name: Layout(16, [(0,), (1, 2)]) for name in ("p010le", "p012le", "p016le", "p210le", "p410le")}


_LAYOUTS = _layouts()

# Luma weights (red, blue) by AVColorSpace; what a stream leaves unsaid is 601 below 720 lines and 709 above, as players do.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
_WEIGHTS |= {9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_FLAT: NDArray = np.empty(0)
_IDENTITY = 0  # "YUV" that is green, blue, red


def to_picture(frame: VideoFrame, width: int, height: int) -> Picture:
    """Area-resize `frame` to `(height, width, 3) uint8` RGB by its own matrix, range, depth and chroma layout."""
    layout = _LAYOUTS.get(frame.format.name)
    if layout is None:
        frame = _laid_out(frame)
        layout = _LAYOUTS[frame.format.name]
    channels = [_FLAT] * 3
    for index, holds in enumerate(layout.planes):
        for channel, plane in zip(holds, _view(frame, index, layout.bits, len(holds)), strict=True):
            channels[channel] = area_resize(plane, width, height)
    if len(layout.planes) == 1:
        channels[1:] = [np.full_like(channels[0], 1 << (layout.bits - 1))] * 2
    rgb = cv2.transform(cv2.merge(channels), _matrix_of(frame, layout))
    return np.asarray(cv2.addWeighted(rgb, 1, rgb, 0, 0, dtype=cv2.CV_8U))  # rounded to even and clipped


def _laid_out(frame: VideoFrame) -> VideoFrame:
    """A frame of a rare layout (packed, palette, big-endian) in planes, by FFmpeg."""
    name = frame.format.name
    if name.endswith("be") and f"{name[:-2]}le" in _LAYOUTS:
        return frame.reformat(format=f"{name[:-2]}le")
    if frame.format.is_rgb or frame.format.has_palette:
        return frame.reformat(format="gbrp")
    return frame.reformat(format="yuv444p" if frame.format.components[0].bits == 8 else "yuv444p16le")


def _view(frame: VideoFrame, index: int, bits: int, channels: int) -> Sequence[NDArray]:
    """The channels of a plane, each `(H, W)`; of the decoder's own buffer, without a copy, where there is but one."""
    plane = frame.planes[index]
    kind = np.dtype(np.uint8 if bits == 8 else np.uint16)
    rows = np.frombuffer(memoryview(plane), kind).reshape(plane.height, plane.line_size // kind.itemsize)
    if channels == 1:
        return [rows[:, : plane.width]]
    return cv2.split(rows[:, : plane.width * channels].reshape(plane.height, plane.width, channels))


def _matrix_of(frame: VideoFrame, layout: Layout) -> NDArray[np.float32]:
    space = int(frame.colorspace)
    if layout.rgb:
        return _from_rgb(layout.bits, (0, 1, 2))
    if space == _IDENTITY and len(layout.planes) == 3:
        return _from_rgb(layout.bits, (2, 0, 1))
    if space not in _WEIGHTS:
        space = 1 if frame.height >= 720 else 5
    name, reach = frame.format.name, int(frame.color_range)
    full = reach == _FULL_RANGE or name.startswith("yuvj")
    if name.startswith("gray") and reach != _LIMITED_RANGE:
        full = True  # as FFmpeg takes gray that does not say
    return _from_yuv(space, full, layout.bits)


@lru_cache(maxsize=16)
def _from_rgb(bits: int, order: tuple[int, int, int]) -> NDArray[np.float32]:
    """The 3x4 map from samples of `bits` bits, in which R, G, B are the channels `order`, to R, G, B from 0 to 255."""
    scale = 255 / ((1 << bits) - 1)
    return np.hstack([np.eye(3)[list(order)] * scale, np.zeros((3, 1))]).astype(np.float32)


@lru_cache(maxsize=64)
def _from_yuv(space: int, full: bool, bits: int) -> NDArray[np.float32]:
    """The 3x4 affine map from Y, U, V samples of `bits` bits to R, G, B from 0 to 255 (ITU-R BT.601, 709, 2020)."""
    red, blue = _WEIGHTS[space]
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
