"""An articulated body: from a motion and a moment to the places of its joints.

Every movement goes to and fro around a rest pose that is drawn by chance per clip, and starts at a phase drawn by
chance; a part that keeps still is frozen in the middle of some movement, also drawn by chance. So one still shows
next to nothing of the class.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sample.motions import ARMS, LEGS, PATHS, Motion, Part

Array = NDArray[np.float64]
_TURN = 2 * math.pi

# Lengths in body heights.
_TORSO, _NECK, _UPPER_ARM, _FOREARM, _THIGH, _SHIN = 0.29, 0.12, 0.18, 0.17, 0.23, 0.23
_SHOULDER, _PELVIS = 0.09, 0.05  # half widths


@dataclass(frozen=True)
class Temper:
    """How one clip performs its motion. Angles in radians; pairs are left and right."""

    speed: float
    reach: float
    phases: tuple[float, float, float]  # of arms, legs, path at the first frame
    held: tuple[str, str, str]  # in which movements arms, legs and path are frozen where they keep still
    arms: tuple[float, float]  # rest angles of the upper arms
    elbows: tuple[float, float]
    thighs: tuple[float, float]
    knees: tuple[float, float]
    tilt: float


@dataclass(frozen=True)
class Poses:
    """Joints over time in body heights around the middle of the body, y downwards, each `(T, 2)`."""

    head: Array
    neck: Array
    hip: Array
    arms: tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]  # shoulder, elbow, hand
    legs: tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]  # hip, knee, foot
    scale: Array  # (T,): nearness to the camera


def draw_temper(chance: random.Random) -> Temper:
    """A way to perform, by chance: speed within 7%, reach within 15%."""

    def pair(low: float, high: float) -> tuple[float, float]:
        return chance.uniform(low, high), chance.uniform(low, high)

    return Temper(
        speed=chance.uniform(0.93, 1.07),
        reach=chance.uniform(0.85, 1.15),
        phases=(chance.uniform(0, _TURN), *pair(0, _TURN)),
        held=(chance.choice(list(ARMS)), chance.choice(list(LEGS)), chance.choice(list(PATHS))),
        arms=pair(0, _TURN),
        elbows=pair(-1.0, 1.0),
        thighs=pair(-0.5, 0.5),
        knees=pair(-0.5, 0.5),
        tilt=chance.uniform(-0.35, 0.35),
    )


def perform(motion: Motion, temper: Temper, seconds: Array) -> Poses:
    """The body at each of `seconds` `(T,)`."""
    arms, legs, path = (
        _act(part, held, phase + _TURN * part.hertz * temper.speed * seconds, temper.reach)
        for part, held, phase in zip(
            (motion.arms, motion.legs, motion.path), temper.held, temper.phases, strict=True
        )
    )
    x, y, rock, lean, nearness = path
    tilt = temper.tilt + rock
    hip = np.stack([x, y + 0.06 + legs[4]], 1)
    neck = _ahead(hip, math.pi + tilt + lean, _TORSO)
    across = np.stack([np.cos(tilt + lean), -np.sin(tilt + lean)], 1)
    along = np.stack([np.cos(tilt), -np.sin(tilt)], 1)
    limbs = []
    for side, sign in enumerate((-1, 1)):
        upper = temper.arms[side] + arms[side] + tilt + lean
        thigh = temper.thighs[side] + legs[side] + tilt + sign * 0.25
        limbs.append(
            (
                _chain(neck + sign * _SHOULDER * across, upper, temper.elbows[side] + arms[2 + side], _UPPER_ARM, _FOREARM),
                _chain(hip + sign * _PELVIS * along, thigh, temper.knees[side] + legs[2 + side], _THIGH, _SHIN),
            )
        )
    return Poses(
        head=_ahead(neck, math.pi + tilt + lean, _NECK),
        neck=neck,
        hip=hip,
        arms=(limbs[0][0], limbs[1][0]),
        legs=(limbs[0][1], limbs[1][1]),
        scale=1 + nearness,
    )


Act = Callable[[Array, float], tuple[Array, ...]]


def _act(part: Part, held: str, phase: Array, reach: float) -> tuple[Array, ...]:
    return _ACTS[part.kind or held](phase, reach)


def _saw(phase: Array) -> Array:
    """From -1 slowly up to 1 and back in a fifth of the time."""
    turn = (phase / _TURN) % 1
    return np.where(turn < 0.8, turn / 0.4 - 1, 1 - (turn - 0.8) / 0.1)


def _push(phase: Array) -> Array:
    """0, and once a period up to 1 and back, in half of the time."""
    return np.square(np.maximum(0, np.sin(phase)))


def _limbs(phase: Array, *values: Array | float) -> tuple[Array, ...]:
    """Turns of the first joints (left, right), bends of the second (left, right), and, for legs, how far the hip drops."""
    return tuple(value + 0 * phase for value in values)


def _whole(phase: Array, x: Array | float = 0, y: Array | float = 0, **turns: Array) -> tuple[Array, ...]:
    """Displacement (x, y), turn of all the body, lean of the torso, nearness."""
    return _limbs(phase, x, y, turns.get("rock", 0), turns.get("lean", 0), turns.get("near", 0))


_ACTS: dict[str, Act] = {
    "flap": lambda p, r: _limbs(p, 1.1 * r * np.sin(p), -1.1 * r * np.sin(p), 0, 0),
    "wave": lambda p, r: _limbs(p, 1.3 * r * np.sin(p), 0, 0.5 * r * np.sin(p), 0),
    "windmill": lambda p, r: _limbs(p, p, p, 0, 0),
    "twirl": lambda p, r: _limbs(p, p, 0, 0, 0),
    "pump": lambda p, r: _limbs(p, 0, 0, 1.5 * r * np.sin(p), -1.5 * r * np.sin(p)),
    "punch": lambda p, r: _limbs(
        p, 1.4 * r * _push(p), -1.4 * r * _push(p + math.pi), -1.6 * r * _push(p), 1.6 * r * _push(p + math.pi)
    ),
    "chop": lambda p, r: _limbs(p, 1.2 * r * _saw(p), 1.2 * r * _saw(p), 0, 0),
    "march": lambda p, r: _limbs(
        p, -1.2 * r * _push(p), 1.2 * r * _push(p + math.pi), 1.5 * r * _push(p), -1.5 * r * _push(p + math.pi), 0
    ),
    "squat": lambda p, r: _limbs(
        p, *(sign * width * r * np.sin(p) for width in (0.7, 1.2) for sign in (-1, 1)), 0.1 * r * np.sin(p)
    ),
    "kick": lambda p, r: _limbs(p, -1.6 * r * _push(p / 2), 0, 0, 0, 0),
    "straddle": lambda p, r: _limbs(p, 0.55 * r * np.sin(p), -0.55 * r * np.sin(p), 0, 0, 0),
    "ski": lambda p, r: _limbs(p, 0.6 * r * np.sin(p), 0.6 * r * np.sin(p), 0, 0, 0),
    "sway": lambda p, r: _whole(p, x=0.2 * r * np.sin(p)),
    "hop": lambda p, r: _whole(p, y=0.11 - 0.22 * r * np.abs(np.sin(p / 2))),
    "orbit": lambda p, r: _whole(p, x=0.17 * r * np.sin(p), y=0.11 * r * np.cos(p)),
    "rock": lambda p, r: _whole(p, rock=0.6 * r * np.sin(p)),
    "loom": lambda p, r: _whole(p, near=0.3 * r * np.sin(p)),
    "dash": lambda p, r: _whole(p, x=0.22 * r * _saw(p)),
    "bow": lambda p, r: _whole(p, lean=0.75 * r * np.sin(p)),
}


def _chain(joint: Array, angle: Array, bend: Array, first: float, second: float) -> tuple[Array, Array, Array]:
    middle = _ahead(joint, angle, first)
    return joint, middle, _ahead(middle, angle + bend, second)


def _ahead(point: Array, angle: Array, length: float) -> Array:
    """The points `length` away from `point` at `angle` from straight down, counter-clockwise as seen."""
    return point + length * np.stack([np.sin(angle), np.cos(angle)], 1)
