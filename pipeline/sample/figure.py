"""An articulated figure: joint angles over time, forward kinematics, and the random appearance of each clip.

Every joint angle is a function of a phase. In a part of the body that moves, the phases advance with time; in a part
that is still, they keep a random value. So a single frame of any motion shows the same distribution of poses, and since
position, size, colours, background and camera are random as well, only the movement identifies the class.
"""

import math
import random
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sample.motions import Motion

Colour = tuple[float, float, float]
Point = tuple[float, float]
_TURN = 2 * math.pi
_SUBPIXEL = 4  # fractional bits of cv2's coordinates: in whole pixels, slow movement would jerk

# Lengths in body heights.
_TORSO, _HEAD, _UPPER_ARM, _FOREARM, _THIGH, _SHIN = 0.30, 0.085, 0.18, 0.17, 0.23, 0.23


class Freedom(IntEnum):
    """The degrees of freedom of the figure: positions in `Appearance.phases`."""

    LEFT_ARM, RIGHT_ARM, ELBOWS, LEFT_THIGH, RIGHT_THIGH, DEPTH, SIDE, HEIGHT, LEAN = range(9)


# The degrees of freedom that each kind of movement drives.
_DRIVEN = {
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
class Appearance:
    """The figure and camera of one clip, and the phases at which its movement begins."""

    height: float  # of the figure, in picture heights
    thickness: float  # of its limbs, in body heights
    centre: Point  # in picture widths and heights
    mirrored: bool
    body: Colour
    limbs: Colour
    speed: float  # factor on every frequency
    amplitude: float  # factor on every swing
    phases: tuple[float, ...]  # of each degree of freedom at second 0, radians
    arm_directions: tuple[float, float]  # around which each arm swings, radians
    camera: tuple[float, float, float]  # drift in x and y (picture widths), and its phase


@dataclass(frozen=True)
class Pose:
    """Joint positions in body heights from the middle of the body, y downwards."""

    hip: Point
    neck: Point
    head: Point
    hands: tuple[tuple[Point, Point], tuple[Point, Point]]  # (elbow, hand) left and right
    feet: tuple[tuple[Point, Point], tuple[Point, Point]]  # (knee, foot) left and right


def random_appearance(rng: random.Random) -> Appearance:
    """Draw an appearance; the order of the draws is part of the sample's format."""
    bright = rng.random() < 0.5
    return Appearance(
        height=rng.uniform(0.62, 0.78),
        thickness=rng.uniform(0.055, 0.085),
        centre=(0.5 + rng.uniform(-0.07, 0.07), 0.53 + rng.uniform(-0.04, 0.04)),
        mirrored=rng.random() < 0.5,
        body=_random_colour(rng, bright),
        limbs=_random_colour(rng, bright),
        speed=rng.uniform(0.93, 1.07),
        amplitude=rng.uniform(0.87, 1.13),
        phases=tuple(rng.uniform(0, _TURN) for _ in Freedom),
        arm_directions=(rng.uniform(0, _TURN), rng.uniform(0, _TURN)),
        camera=(rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03), rng.uniform(0, _TURN)),
    )


def is_bright(appearance: Appearance) -> bool:
    """Whether the figure needs a dark background: its mean grey level is above the middle."""
    return sum(appearance.body) + sum(appearance.limbs) > 6 * 127


def pose_at(motion: Motion, appearance: Appearance, seconds: float) -> Pose:
    """The pose of the figure `seconds` after the start of the clip."""
    phase = list(appearance.phases)
    for part in (motion.arms, motion.legs, motion.body):
        for freedom in _DRIVEN.get(part.kind, ()):
            phase[freedom] += _TURN * part.hertz * appearance.speed * seconds
    if motion.legs.kind == "march":
        phase[Freedom.RIGHT_THIGH] = phase[Freedom.LEFT_THIGH] + math.pi
    if motion.body.kind == "orbit":
        phase[Freedom.HEIGHT] = phase[Freedom.SIDE] + math.pi / 2

    def swing(freedom: Freedom, amplitude: float) -> float:
        return amplitude * appearance.amplitude * math.sin(phase[freedom])

    def arm(direction: float, freedom: Freedom) -> float:
        # A circling arm passes every direction; a swinging arm stays around one that is random.
        return direction + (phase[freedom] if motion.arms.kind == "circle" else swing(freedom, 1.2))

    left_direction, right_direction = appearance.arm_directions
    left_arm, right_arm = arm(left_direction, Freedom.LEFT_ARM), arm(right_direction, Freedom.RIGHT_ARM)
    bend = 1.1 + swing(Freedom.ELBOWS, 1.1)
    depth = 0.5 + swing(Freedom.DEPTH, 0.5)
    lean = swing(Freedom.LEAN, 0.55)
    left_thigh = 0.3 + 0.6 * depth + swing(Freedom.LEFT_THIGH, 0.6)
    right_thigh = -0.3 - 0.6 * depth + swing(Freedom.RIGHT_THIGH, 0.6)
    hip = (swing(Freedom.SIDE, 0.19), swing(Freedom.HEIGHT, 0.1) + 0.12 * depth)
    neck = _offset(hip, math.pi + lean, _TORSO)
    return Pose(
        hip=hip,
        neck=neck,
        head=_offset(neck, math.pi + lean, _HEAD * 1.5),
        hands=(_limb(neck, left_arm, bend, _UPPER_ARM, _FOREARM), _limb(neck, right_arm, -bend, _UPPER_ARM, _FOREARM)),
        feet=(_limb(hip, left_thigh, -1.2 * depth, _THIGH, _SHIN), _limb(hip, right_thigh, 1.2 * depth, _THIGH, _SHIN)),
    )


def draw_figure(picture: NDArray[np.uint8], pose: Pose, appearance: Appearance) -> None:
    """Draw `pose` into `picture` `(H, W, 3) uint8`, in place."""
    rows, columns = picture.shape[:2]
    unit = appearance.height * min(rows, columns * 1.15)  # pixels of a body height
    sign = -1 if appearance.mirrored else 1

    def to_pixels(point: Point) -> tuple[int, int]:
        x = appearance.centre[0] * columns + sign * point[0] * unit
        y = appearance.centre[1] * rows + point[1] * unit
        return round(x * (1 << _SUBPIXEL)), round(y * (1 << _SUBPIXEL))

    def bone(start: Point, end: Point, colour: Colour, width: float) -> None:
        thickness = max(1, round(width * unit))
        cv2.line(picture, to_pixels(start), to_pixels(end), colour, thickness, cv2.LINE_AA, _SUBPIXEL)

    red, green, blue = appearance.limbs
    shaded = (0.7 * red, 0.7 * green, 0.7 * blue)  # the limbs on the far side
    for colour, index in ((shaded, 1), (appearance.limbs, 0)):
        knee, foot = pose.feet[index]
        bone(pose.hip, knee, colour, appearance.thickness)
        bone(knee, foot, colour, appearance.thickness)
        elbow, hand = pose.hands[index]
        bone(pose.neck, elbow, colour, appearance.thickness)
        bone(elbow, hand, colour, appearance.thickness)
    bone(pose.hip, pose.neck, appearance.body, appearance.thickness * 1.8)
    radius = round(_HEAD * unit * (1 << _SUBPIXEL))
    cv2.circle(picture, to_pixels(pose.head), radius, appearance.body, -1, cv2.LINE_AA, _SUBPIXEL)


def _limb(joint: Point, angle: float, bend: float, upper: float, lower: float) -> tuple[Point, Point]:
    """The middle and the end of a limb whose two bones have lengths `upper` and `lower`."""
    middle = _offset(joint, angle, upper)
    return middle, _offset(middle, angle + bend, lower)


def _offset(point: Point, angle: float, length: float) -> Point:
    """The point `length` away at `angle` from straight down, counter-clockwise in the picture."""
    return point[0] + length * math.sin(angle), point[1] + length * math.cos(angle)


def _random_colour(rng: random.Random, bright: bool) -> Colour:
    low, high = (175, 255) if bright else (0, 70)
    return rng.uniform(low, high), rng.uniform(low, high), rng.uniform(low, high)
