"""Figures of clips: rows of frames with labels, as RGB arrays and PNG files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common.files import write_bytes

Pixels = NDArray[np.uint8]
"""RGB, (H, W, 3)."""
CELL = 128  # pixels of a frame's side, at least
LEFT, TITLE, TOP, GAP, SPACE = (
    120,
    30,
    26,
    16,
    2,
)  # pixels: row labels, title, column labels, around panels, between frames
_INK, _PAPER, _NO_FRAME = (0, 0, 0), 255, 235


@dataclass(frozen=True)
class Panel:
    """Frames of one clip: rows by label, each with one frame (S, S, 3) or None per column."""

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[Pixels | None]]


def draw_panels(panels: Sequence[Panel], size: int, across: int = 2) -> Pixels:
    """Panels with the same labels, `across` side by side; frames of `size` pixels are enlarged by a whole factor, unsmoothed."""
    cell = size * max(1, round(CELL / size))
    blocks = [_draw(panel, cell) for panel in panels]
    blank = np.full_like(blocks[0], _PAPER)
    blocks += [blank] * (-len(blocks) % across)
    lines = [np.concatenate(blocks[first : first + across], 1) for first in range(0, len(blocks), across)]
    return np.pad(np.concatenate(lines), ((0, GAP), (0, GAP), (0, 0)), constant_values=_PAPER)


def write_png(path: Path, pixels: Pixels) -> None:
    """Write an RGB picture, atomically."""
    write_bytes(path, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


def _draw(panel: Panel, cell: int) -> Pixels:
    pitch = cell + SPACE
    shape = (GAP + TITLE + TOP + len(panel.rows) * pitch, GAP + LEFT + len(panel.columns) * pitch, 3)
    canvas = np.full(shape, _PAPER, np.uint8)
    _write(canvas, panel.title, GAP, GAP + 18, shape[1] - GAP)
    for column, label in enumerate(panel.columns):
        _write(canvas, label, GAP + LEFT + column * pitch + 4, GAP + TITLE + 16, cell)
    for row, (label, frames) in enumerate(panel.rows.items()):
        top = GAP + TITLE + TOP + row * pitch
        _write(canvas, label, GAP, top + cell // 2, LEFT)
        for column, frame in enumerate(frames):
            left = GAP + LEFT + column * pitch
            place = canvas[top : top + cell, left : left + cell]
            if frame is None:
                place[:] = _NO_FRAME
            else:
                place[:] = frame.repeat(cell // len(frame), 0).repeat(cell // len(frame), 1)
    return canvas


def _write(canvas: Pixels, text: str, left: int, bottom: int, width: int) -> None:
    """Write text from a baseline's left end; what does not fit into `width` pixels is cut off."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    text = text.encode("ascii", "replace").decode()  # the font has no other letters
    while text and cv2.getTextSize(text, font, scale, 1)[0][0] > width:
        text = text[:-1]
    cv2.putText(canvas, text, (left, bottom), font, scale, _INK, 1, cv2.LINE_AA)
