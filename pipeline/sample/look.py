"""What a clip looks like: a painted body before a painted scene, seen by a drifting camera. All of it by chance."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sample.body import Array, Poses

Picture = NDArray[np.uint8]
Colour = tuple[float, float, float]
_HEAD = 0.085  # radius in body heights
_SUBPIXEL = 4  # bits: cv2 draws at sixteenths of a pixel, else slow movement would jerk
_MARGIN = 1.2  # size of the scene in pictures: what the camera can drift over

cv2.setNumThreads(0)


@dataclass(frozen=True)
class Look:
    """Everything about a clip's pictures but the movement."""

    height: float  # of the body, in picture heights
    thickness: float  # of its limbs, in body heights
    centre: tuple[float, float]  # in picture widths and heights
    mirrored: bool
    skin: Colour
    shirt: Colour
    sleeves: Colour
    trousers: Colour
    dark_scene: bool
    drift: tuple[float, float, float]  # of the camera: reach in x and y (picture sizes), and its phase
    zoom: float  # by which the camera comes nearer over ten seconds
    passer_by: float | None  # size of something that floats past, in picture heights


def draw_look(chance: random.Random) -> Look:
    """A look by chance. The body is bright before a dark scene or dark before a bright one."""
    bright = chance.random() < 0.5
    skin, shirt, sleeves, trousers = (_colour(chance, *((165, 255) if bright else (0, 85))) for _ in range(4))
    return Look(
        height=chance.uniform(0.66, 0.82),
        thickness=chance.uniform(0.05, 0.08),
        centre=(0.5 + chance.uniform(-0.07, 0.07), 0.5 + chance.uniform(-0.05, 0.05)),
        mirrored=chance.random() < 0.5,
        skin=skin,
        shirt=shirt,
        sleeves=chance.choice((shirt, skin, sleeves)),
        trousers=trousers,
        dark_scene=bright,
        drift=(chance.uniform(0, 0.05), chance.uniform(0, 0.04), chance.uniform(0, 2 * math.pi)),
        zoom=chance.uniform(-0.06, 0.06),
        passer_by=chance.uniform(0.05, 0.12) if chance.random() < 0.3 else None,
    )


def paint(poses: Poses, look: Look, seconds: Array, width: int, height: int, chance: random.Random) -> Iterator[Picture]:
    """The pictures `(height, width, 3) uint8` RGB of a clip, one a moment. The next picture overwrites the last."""
    scene = _paint_scene(chance, round(_MARGIN * width), round(_MARGIN * height), look.dark_scene)
    shift_x = look.drift[0] * width * np.sin(look.drift[2] + 0.5 * seconds)
    shift_y = look.drift[1] * height * np.sin(2 * look.drift[2] + 0.4 * seconds)
    zoom = 1 + look.zoom * (seconds / 10 - 0.5)
    body = _Body(poses, look, zoom, shift_x, shift_y, width, height)
    shade = _colour(chance, 60, 190)
    start, pace = chance.uniform(-0.2, 1.2), chance.choice((-1, 1)) * chance.uniform(0.04, 0.1)
    level = chance.uniform(0.1, 0.9)
    canvas = np.empty((height, width, 3), np.uint8)
    for moment in range(len(seconds)):
        view = np.array(
            [
                [zoom[moment], 0, width / 2 - zoom[moment] * scene.shape[1] / 2 + shift_x[moment]],
                [0, zoom[moment], height / 2 - zoom[moment] * scene.shape[0] / 2 + shift_y[moment]],
            ]
        )
        cv2.warpAffine(scene, view, (width, height), canvas, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        if look.passer_by:
            place = _fixed(np.array([(start + pace * seconds[moment]) * width, level * height]))
            cv2.circle(canvas, place, int(_fixed(look.passer_by * height)), shade, -1, cv2.LINE_AA, _SUBPIXEL)
        body.paint(canvas, moment)
        yield canvas


class _Body:
    """The body in pixels, every moment's joints worked out at once."""

    def __init__(
        self, poses: Poses, look: Look, zoom: Array, shift_x: Array, shift_y: Array, width: int, height: int
    ) -> None:
        self._look = look
        unit = look.height * min(height, 1.15 * width) * zoom * poses.scale
        sign = -1 if look.mirrored else 1

        def place(joint: Array) -> NDArray[np.int32]:
            x = look.centre[0] * width + sign * unit * joint[:, 0] + shift_x
            y = look.centre[1] * height + unit * joint[:, 1] + shift_y
            return _fixed(np.stack([x, y], 1))

        self._limbs = [
            (np.stack([place(joint) for joint in chain], 1), colour)
            for chain, colour in (
                (poses.legs[1], _shaded(look.trousers)),
                (poses.arms[1], _shaded(look.sleeves)),
                (poses.legs[0], look.trousers),
            )
        ]
        self._torso = np.stack([place(poses.hip), place(poses.neck)], 1)
        self._near_arm = np.stack([place(joint) for joint in poses.arms[0]], 1)
        self._head = place(poses.head)
        self._radius = _fixed(_HEAD * unit)
        self._thickness = np.maximum(1, np.rint(look.thickness * unit)).astype(int)

    def paint(self, canvas: Picture, moment: int) -> None:
        """Paint one moment into `canvas`, from the far limbs to the near ones."""
        thickness = int(self._thickness[moment])
        for chain, colour in self._limbs:
            _stroke(canvas, chain[moment], colour, thickness)
        _stroke(canvas, self._torso[moment], self._look.shirt, 2 * thickness)
        radius = int(self._radius[moment])
        cv2.circle(canvas, self._head[moment], radius, self._look.skin, -1, cv2.LINE_AA, _SUBPIXEL)
        _stroke(canvas, self._near_arm[moment], self._look.sleeves, thickness)


def _paint_scene(chance: random.Random, width: int, height: int, dark: bool) -> Picture:
    """A still scene `(height, width, 3) uint8`: a gradient, plain or with stripes, blobs or grain."""
    low, high = (10, 95) if dark else (150, 245)
    corners = np.array([[_colour(chance, low, high) for _ in range(2)] for _ in range(2)], np.float32)
    scene = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    kind = chance.choice(("plain", "stripes", "blobs", "grain"))
    if kind == "stripes":
        angle, pitch = chance.uniform(0, math.pi), chance.uniform(6, 24)
        rows, columns = np.ogrid[0:height, 0:width]
        wave = np.sin((columns * math.cos(angle) + rows * math.sin(angle)) * 2 * math.pi / pitch)
        scene += chance.uniform(6, 18) * wave[..., None].astype(np.float32)
    elif kind == "blobs":
        for _ in range(chance.randint(3, 9)):
            where = (chance.randrange(width), chance.randrange(height))
            cv2.circle(scene, where, chance.randint(3, height // 4), _colour(chance, low, high), -1, cv2.LINE_AA)
    elif kind == "grain":
        grain = np.random.default_rng(chance.getrandbits(32)).normal(0, 20, (height // 5, width // 5, 3))
        scene += cv2.resize(grain.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(scene, 0, 255).astype(np.uint8)


def _stroke(canvas: Picture, chain: NDArray[np.int32], colour: Colour, thickness: int) -> None:
    cv2.polylines(canvas, [chain], False, colour, thickness, cv2.LINE_AA, _SUBPIXEL)


def _fixed(pixels: Array | float) -> NDArray[np.int32]:
    """Pixels as cv2's fixed-point numbers."""
    return np.rint(np.multiply(pixels, 1 << _SUBPIXEL)).astype(np.int32)


def _shaded(colour: Colour) -> Colour:
    return 0.75 * colour[0], 0.75 * colour[1], 0.75 * colour[2]


def _colour(chance: random.Random, low: float, high: float) -> Colour:
    return chance.uniform(low, high), chance.uniform(low, high), chance.uniform(low, high)
