"""An articulated figure that moves: joint angles over time, forward kinematics, and how one clip differs from the next.

Every joint angle is a function of a phase. A part that moves lets its phases run; a part that does not has them frozen
at a moment drawn by chance. So a still of any motion shows the same distribution of poses, and with place, size,
colours, background and camera drawn by chance as well, only the movement tells the class.
"""

import math
import random
from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sample.motions import Motion

Colour = tuple[float, float, float]
Point = tuple[float, float]
_TURN = 2 * math.pi
_SUBPIXEL = 4  # bits: cv2 draws at sixteenths of a pixel, else slow movement would jerk

# Lengths in body heights.
_TORSO, _HEAD, _UPPER_ARM, _FOREARM, _THIGH, _SHIN = 0.30, 0.085, 0.18, 0.17, 0.23, 0.23


class Freedom(Enum):
    """What can move in the figure."""

    LEFT_ARM, RIGHT_ARM, ELBOWS, LEFT_THIGH, RIGHT_THIGH, DEPTH, SIDE, HEIGHT, LEAN = range(9)


# Which phases run in which kind of movement.
_MOVES = {
    "swing": (Freedom.LEFT_ARM, Freedom.RIGHT_ARM),
    "circle": (Freedom.LEFT_ARM, Freedom.RIGHT_ARM),
    "pump": (Freedom.ELBOWS,),
    "wave": (Freedom.LEFT_ARM,),
    "march": (Freedom.LEFT_THIGH, Freedom.RIGHT_THIGH),
    "squat": (Freedom.DEPTH,),
    "kick": (Freedom.LEFT_THIGH,),
    "sway": (Freedom.SIDE,),
    "hop": (Freedom.HEIGHT,),
    "orbit": (Freedom.SIDE, Freedom.HEIGHT),
    "lean": (Freedom.LEAN,),
}


@dataclass(frozen=True)
class Look:
    """What one clip looks like, and where in its movement it begins."""

    height: float  # of the figure, in picture heights
    thickness: float  # of its limbs, in body heights
    centre: Point  # in picture widths and heights
    mirrored: bool
    body: Colour
    limbs: Colour
    speed: float
    reach: float  # amplitude
    phases: tuple[float, ...]  # of each degree of freedom at second 0, radians
    rest: tuple[float, float]  # direction around which each arm swings, radians
    camera: tuple[float, float, float]  # drift in x and y (picture widths), and its phase


@dataclass(frozen=True)
class Pose:
    """Joints in body heights around the middle of the body, y downwards."""

    hip: Point
    neck: Point
    head: Point
    hands: tuple[tuple[Point, Point], tuple[Point, Point]]  # (elbow, hand) left and right
    feet: tuple[tuple[Point, Point], tuple[Point, Point]]  # (knee, foot) left and right


def draw_look(chance: random.Random) -> Look:
    """A look by chance."""
    bright = chance.random() < 0.5
    return Look(
        height=chance.uniform(0.62, 0.78),
        thickness=chance.uniform(0.055, 0.085),
        centre=(0.5 + chance.uniform(-0.07, 0.07), 0.53 + chance.uniform(-0.04, 0.04)),
        mirrored=chance.random() < 0.5,
        body=_colour(chance, bright),
        limbs=_colour(chance, bright),
        speed=chance.uniform(0.93, 1.07),
        reach=chance.uniform(0.87, 1.13),
        phases=tuple(chance.uniform(0, _TURN) for _ in Freedom),
        rest=(chance.uniform(0, _TURN), chance.uniform(0, _TURN)),
        camera=(chance.uniform(-0.03, 0.03), chance.uniform(-0.03, 0.03), chance.uniform(0, _TURN)),
    )


def is_bright(look: Look) -> bool:
    """Whether the figure is brighter than it is dark; its scene is to be the other."""
    return sum(look.body) + sum(look.limbs) > 6 * 127


def pose_at(motion: Motion, look: Look, seconds: float) -> Pose:
    """The figure at a moment."""
    phase = dict(zip(Freedom, look.phases, strict=True))
    for part in (motion.arms, motion.legs, motion.path):
        for freedom in _MOVES.get(part.kind, ()):
            phase[freedom] += _TURN * part.hertz * look.speed * seconds
    if motion.legs.kind == "march":
        phase[Freedom.RIGHT_THIGH] = phase[Freedom.LEFT_THIGH] + math.pi
    if motion.path.kind == "orbit":
        phase[Freedom.HEIGHT] = phase[Freedom.SIDE] + math.pi / 2

    def swing(freedom: Freedom, amplitude: float) -> float:
        return amplitude * look.reach * math.sin(phase[freedom])

    def arm(rest: float, freedom: Freedom) -> float:
        # A circling arm passes every direction; a swinging one stays around a direction that is itself any.
        return rest + (phase[freedom] if motion.arms.kind == "circle" else swing(freedom, 1.2))

    arms = arm(look.rest[0], Freedom.LEFT_ARM), arm(look.rest[1], Freedom.RIGHT_ARM)
    bend = 1.1 + swing(Freedom.ELBOWS, 1.1)
    depth = 0.5 + swing(Freedom.DEPTH, 0.5)
    lean = swing(Freedom.LEAN, 0.55)
    thighs = (0.3 + 0.6 * depth + swing(Freedom.LEFT_THIGH, 0.6), -0.3 - 0.6 * depth + swing(Freedom.RIGHT_THIGH, 0.6))
    hip = (swing(Freedom.SIDE, 0.19), swing(Freedom.HEIGHT, 0.1) + 0.12 * depth)
    neck = _from(hip, math.pi + lean, _TORSO)
    return Pose(
        hip=hip,
        neck=neck,
        head=_from(neck, math.pi + lean, _HEAD * 1.5),
        hands=(_chain(neck, arms[0], bend, _UPPER_ARM, _FOREARM), _chain(neck, arms[1], -bend, _UPPER_ARM, _FOREARM)),
        feet=(_chain(hip, thighs[0], -1.2 * depth, _THIGH, _SHIN), _chain(hip, thighs[1], 1.2 * depth, _THIGH, _SHIN)),
    )


def draw_figure(canvas: NDArray[np.uint8], pose: Pose, look: Look) -> None:
    """Draw `pose` into `canvas` `(H, W, 3) uint8`, in place."""
    rows, columns = canvas.shape[:2]
    unit = look.height * min(rows, columns * 1.15)
    sign = -1 if look.mirrored else 1

    def place(point: Point) -> tuple[int, int]:
        x = look.centre[0] * columns + sign * point[0] * unit
        y = look.centre[1] * rows + point[1] * unit
        return round(x * (1 << _SUBPIXEL)), round(y * (1 << _SUBPIXEL))

    def limb(start: Point, end: Point, colour: Colour, width: float) -> None:
        cv2.line(canvas, place(start), place(end), colour, max(1, round(width * unit)), cv2.LINE_AA, _SUBPIXEL)

    red, green, blue = look.limbs
    far = (0.7 * red, 0.7 * green, 0.7 * blue)
    for colour, side in ((far, 1), (look.limbs, 0)):
        knee, foot = pose.feet[side]
        limb(pose.hip, knee, colour, look.thickness)
        limb(knee, foot, colour, look.thickness)
        elbow, hand = pose.hands[side]
        limb(pose.neck, elbow, colour, look.thickness)
        limb(elbow, hand, colour, look.thickness)
    limb(pose.hip, pose.neck, look.body, look.thickness * 1.8)
    radius = round(_HEAD * unit * (1 << _SUBPIXEL))
    cv2.circle(canvas, place(pose.head), radius, look.body, -1, cv2.LINE_AA, _SUBPIXEL)


def _chain(joint: Point, angle: float, bend: float, first: float, second: float) -> tuple[Point, Point]:
    middle = _from(joint, angle, first)
    return middle, _from(middle, angle + bend, second)


def _from(point: Point, angle: float, length: float) -> Point:
    """The point `length` away at `angle` from straight down, counter-clockwise as seen."""
    return point[0] + length * math.sin(angle), point[1] + length * math.cos(angle)


def _colour(chance: random.Random, bright: bool) -> Colour:
    low, high = (175, 255) if bright else (0, 70)
    return chance.uniform(low, high), chance.uniform(low, high), chance.uniform(low, high)
