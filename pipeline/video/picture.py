"""Convert a decoded frame to a small RGB picture, without a full-size RGB frame in between.

Each plane is area-resized, and colour is converted at the small size. Both operations are linear, so their order only
affects rounding; converting the full frame can cost twice as much as decoding it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from pipeline.video.area import Plane, area_resize

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class PixelFormat:
    """Memory layout of a planar or semi-planar pixel format."""

    bits: int  # per sample; samples of more than 8 bits take 16
    planes: Sequence[Sequence[int]]  # channels in each plane: 0, 1, 2 for Y, U, V or R, G, B
    rgb: bool = False


def _pixel_formats() -> dict[str, PixelFormat]:
    """Supported pixel formats by FFmpeg's name."""
    suffixes = {8: "", 9: "9le", 10: "10le", 12: "12le", 14: "14le", 16: "16le"}
    planar, gray, gbr = [(0,), (1,), (2,)], [(0,)], [(1,), (2,), (0,)]
    y_uv, y_vu = [(0,), (1, 2)], [(0,), (2, 1)]
    formats = {f"yuvj{chroma}p": PixelFormat(8, planar) for chroma in ("420", "422", "444", "411", "440")}
    for bits, suffix in suffixes.items():
        for chroma in ("420", "422", "444", "411", "410", "440"):
            formats[f"yuv{chroma}p{suffix}"] = formats[f"yuva{chroma}p{suffix}"] = PixelFormat(bits, planar)
        formats[f"gray{suffix}"] = PixelFormat(bits, gray)
        formats[f"gbrp{suffix}"] = formats[f"gbrap{suffix}"] = PixelFormat(bits, gbr, rgb=True)
    formats |= {name: PixelFormat(8, y_uv) for name in ("nv12", "nv16", "nv24")}
    formats["nv21"] = PixelFormat(8, y_vu)
    # p010 and p012 keep their 10 or 12 bits at the top of 16.
    formats |= {name: PixelFormat(16, y_uv) for name in ("p010le", "p012le", "p016le", "p210le", "p410le")}
    return formats


_PIXEL_FORMATS = _pixel_formats()

# Weights of red and blue in luma, by AVColorSpace.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470 BG, as BT.601
    6: (0.299, 0.114),  # SMPTE 170M, as BT.601
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
    10: (0.2627, 0.0593),  # BT.2020, constant luminance
}
_BT709, _BT601 = 1, 5
_IDENTITY = 0  # planes labelled Y, U, V hold G, B, R
_LIMITED_RANGE, _FULL_RANGE = 1, 2  # AVColorRange


def to_picture(frame: VideoFrame, width: int, height: int) -> Picture:
    """Area-resize `frame` to `(height, width, 3) uint8` RGB, by its own colour matrix, range, bit depth and chroma layout."""
    pixel_format = _PIXEL_FORMATS.get(frame.format.name)
    if pixel_format is None:
        frame = _to_planar(frame)
        pixel_format = _PIXEL_FORMATS[frame.format.name]
    channels: dict[int, NDArray[np.float32]] = {}
    for index, plane_channels in enumerate(pixel_format.planes):
        planes = _split_plane(frame, index, pixel_format.bits, len(plane_channels))
        for channel, plane in zip(plane_channels, planes, strict=True):
            channels[channel] = area_resize(plane, width, height)
    if len(pixel_format.planes) == 1:  # gray
        channels[1] = channels[2] = np.full_like(channels[0], 1 << (pixel_format.bits - 1))
    merged = cv2.merge([channels[channel] for channel in range(3)])
    rgb = cv2.transform(merged, _color_matrix(frame, pixel_format))
    return np.asarray(cv2.addWeighted(rgb, 1, rgb, 0, 0, dtype=cv2.CV_8U), np.uint8)  # rounds half to even, and clips


def _to_planar(frame: VideoFrame) -> VideoFrame:
    """Convert packed, palette and big-endian pixel formats to a supported planar one, by FFmpeg."""
    name = frame.format.name
    if name.endswith("be") and f"{name[:-2]}le" in _PIXEL_FORMATS:
        return frame.reformat(format=f"{name[:-2]}le")
    if name in ("ya8", "ya16le", "ya16be"):
        return frame.reformat(format="gray" if name == "ya8" else "gray16le")
    if frame.format.is_rgb or frame.format.has_palette:
        return frame.reformat(format="gbrp")
    return frame.reformat(format="yuv444p" if frame.format.components[0].bits == 8 else "yuv444p16le")


def _split_plane(frame: VideoFrame, index: int, bits: int, channels: int) -> Sequence[Plane]:
    """The channels of a plane, each `(H, W)`. A single channel is a view of the decoder's buffer, not a copy."""
    plane = frame.planes[index]
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    rows: Plane = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    if channels == 1:
        return [rows[:, : plane.width]]
    interleaved = rows[:, : plane.width * channels].reshape(plane.height, plane.width, channels)
    return [np.asarray(channel, dtype) for channel in cv2.split(interleaved)]


def _color_matrix(frame: VideoFrame, pixel_format: PixelFormat) -> NDArray[np.float32]:
    """The 3x4 affine map from the frame's samples to R, G, B from 0 to 255."""
    color_space = int(frame.colorspace)
    if pixel_format.rgb:
        return _from_rgb(pixel_format.bits, (0, 1, 2))
    if color_space == _IDENTITY and frame.format.name.startswith(("yuv444", "yuva444", "yuvj444")):
        return _from_rgb(pixel_format.bits, (2, 0, 1))
    if color_space not in _LUMA_WEIGHTS:  # unspecified: guessed by the height, as players do
        color_space = _BT709 if frame.height >= 720 else _BT601
    name, color_range = frame.format.name, int(frame.color_range)
    full = color_range == _FULL_RANGE or name.startswith("yuvj")
    if name.startswith("gray") and color_range != _LIMITED_RANGE:
        full = True  # FFmpeg's default for gray
    return _from_yuv(color_space, full, pixel_format.bits)


@lru_cache(maxsize=16)
def _from_rgb(bits: int, order: tuple[int, int, int]) -> NDArray[np.float32]:
    """The 3x4 map from `bits`-bit samples to R, G, B from 0 to 255; `order` has the channels of R, G and B."""
    scale = 255 / ((1 << bits) - 1)
    return np.hstack([np.eye(3)[list(order)] * scale, np.zeros((3, 1))]).astype(np.float32)


@lru_cache(maxsize=64)
def _from_yuv(color_space: int, full: bool, bits: int) -> NDArray[np.float32]:
    """The 3x4 affine map from `bits`-bit Y, U, V to R, G, B from 0 to 255 (ITU-R BT.601, 709, 2020)."""
    red, blue = _LUMA_WEIGHTS[color_space]
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
