"""Contact sheets: captioned pictures in rows, as one image. All pictures are `(H, W, 3) uint8` RGB."""

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.video.picture import Picture

_SCALE = 2  # factor by which a cell enlarges its frame
_LINE = 12  # pixels from one caption line to the next
_GAP = 2  # pixels of white around a cell
_BLACK, _WHITE, _GREY = (30, 30, 30), (255, 255, 255), (150, 150, 150)


def cell(frame: Picture, *captions: str, grey: bool = False) -> Picture:
    """A frame at twice its size, under one caption line per string, with a white border; `grey` is the captions' colour."""
    picture = frame.repeat(_SCALE, 0).repeat(_SCALE, 1)
    label = text(captions, width=picture.shape[1], colour=_GREY if grey else _BLACK)
    return np.pad(np.vstack([label, picture]), ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)


def text(lines: Sequence[str], *, width: int, colour: tuple[int, int, int] = _BLACK) -> Picture:
    """Lines of text, cut off at `width` pixels; characters beyond ASCII become `?`."""
    picture = np.full((_LINE * len(lines) + 2, width, 3), _WHITE, np.uint8)
    for number, line in enumerate(lines):
        plain = line.encode("ascii", "replace").decode()
        cv2.putText(picture, plain, (2, 11 + _LINE * number), cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, 1, cv2.LINE_AA)
    return picture


def stack(rows: Sequence[Sequence[Picture]]) -> Picture:
    """The pictures of each row side by side, the rows under one another; smaller pictures are padded with white."""
    strips = []
    for row in rows:
        height = max(picture.shape[0] for picture in row)
        strips.append(np.hstack([_pad(picture, height, picture.shape[1]) for picture in row]))
    width = max(strip.shape[1] for strip in strips)
    return np.vstack([_pad(strip, strip.shape[0], width) for strip in strips])


def encode(picture: Picture, suffix: str, *, quality: int = 95) -> bytes:
    """The bytes of an image file.

    Args:
        suffix: `.png`, `.jpg` or another that OpenCV writes.
        quality: of a JPEG, 0 to 100.

    Raises:
        ValueError: OpenCV writes no images with this suffix.
    """
    image = np.ascontiguousarray(picture[..., ::-1])  # OpenCV encodes BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    try:
        done, data = cv2.imencode(suffix, image, options)
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"no image format for the suffix {suffix!r}")
    return bytes(data.tobytes())


def _pad(picture: Picture, height: int, width: int) -> Picture:
    missing = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    return np.pad(picture, missing, constant_values=255)
