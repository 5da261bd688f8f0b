"""The classes of the sample: 518 motions, each a movement of the arms, the legs and the whole body."""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

# Hertz by adverb. Training samples 2.5 to 5 frames a second: at least two per period of the fastest.
TEMPOS = {"slowly": 0.3, "steadily": 0.6, "fast": 1.1}

ARMS = {"swing": "swinging both arms", "circle": "circling arms", "pump": 'making "pistons"', "wave": "waving one arm"}
LEGS = {"march": "marching", "squat": "squatting", "kick": "kicking"}
BODY = {"sway": "swaying", "hop": "hopping", "orbit": "going round", "lean": "leaning to and fro"}


@dataclass(frozen=True)
class Movement:
    """A kind of periodic movement and its frequency; a `still` part of the body keeps one pose for the whole clip."""

    kind: str = "still"
    hertz: float = 0.0


@dataclass(frozen=True)
class Motion:
    """A class: its name, and the movement of each part of the body."""

    name: str
    arms: Movement
    legs: Movement
    body: Movement


@cache
def motions(count: int = 518) -> tuple[Motion, ...]:
    """The first `count` motions in farthest-point order: each is as unlike all before it as possible."""
    candidates = _all_motions()
    points = np.stack([_descriptor(motion) for motion in candidates])
    order = [0]
    distance = np.full(len(points), np.iinfo(np.int64).max)
    while len(order) < count:
        distance = np.minimum(distance, ((points - points[order[-1]]) ** 2).sum(1))
        order.append(int(distance.argmax()))
    return tuple(candidates[index] for index in order)


def _all_motions() -> list[Motion]:
    """Every combination in which something moves. Legs and body skip the middle tempo: fewer, clearer differences."""
    arms = [Movement(), *(Movement(kind, hertz) for kind, hertz in product(ARMS, TEMPOS.values()))]
    extremes = (TEMPOS["slowly"], TEMPOS["fast"])
    legs = [Movement(), *(Movement(kind, hertz) for kind, hertz in product(LEGS, extremes))]
    body = [Movement(), *(Movement(kind, hertz) for kind, hertz in product(BODY, extremes))]
    combinations = product(arms, legs, body)
    return [Motion(_name(*parts), *parts) for parts in combinations if any(part.hertz for part in parts)]


def _name(arms: Movement, legs: Movement, body: Movement) -> str:
    adverbs = {hertz: adverb for adverb, hertz in TEMPOS.items()}
    phrases = [
        f"{verbs[part.kind]} {adverbs[part.hertz]}"
        for part, verbs in ((arms, ARMS), (legs, LEGS), (body, BODY))
        if part.kind != "still"
    ]
    return ", ".join(phrases)


def _descriptor(motion: Motion) -> NDArray[np.int64]:
    """A point in a space where distance is dissimilarity; the kind of movement weighs more than its tempo.

    Whole numbers, so that the order of `motions` is the same on every machine.
    """
    tempos = list(TEMPOS.values())
    point: list[int] = []
    for part, kinds in ((motion.arms, ARMS), (motion.legs, LEGS), (motion.body, BODY)):
        point += [10 * (part.kind == kind) for kind in kinds]
        point.append(8 * (tempos.index(part.hertz) - 1) if part.hertz else 0)
    return np.array(point)
