"""518 ways to move. A motion says which parts of the body move, how, and how often; nothing about how a still looks."""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

# Hertz. Training looks at 2.5 to 5 frames a second, so even the fastest is seen at least twice a period.
PACES = {"slowly": 0.3, "steadily": 0.6, "fast": 1.1}

ARMS = {"swing": "swinging both arms", "circle": "circling arms", "pump": 'making "pistons"', "wave": "waving one arm"}
LEGS = {"march": "marching", "squat": "squatting", "kick": "kicking"}
PATHS = {"sway": "swaying", "hop": "hopping", "orbit": "going round", "lean": "leaning to and fro"}


@dataclass(frozen=True)
class Part:
    """What one part of the body does: a kind of movement and its frequency in Hz; `still` keeps whatever pose it has."""

    kind: str = "still"
    hertz: float = 0.0


@dataclass(frozen=True)
class Motion:
    """A class of movement, and its name."""

    name: str
    arms: Part
    legs: Part
    path: Part


@cache
def motions(count: int = 518) -> tuple[Motion, ...]:
    """The first `count` motions of an order in which each is as unlike all before it as can be."""
    everything = _all_motions()
    points = np.stack([_descriptor(motion) for motion in everything])
    order = [0]
    distance = np.full(len(points), np.iinfo(np.int64).max)
    while len(order) < count:
        distance = np.minimum(distance, ((points - points[order[-1]]) ** 2).sum(1))
        order.append(int(distance.argmax()))
    return tuple(everything[index] for index in order)


def _all_motions() -> list[Motion]:
    """Every combination in which something moves. Legs and path leave out the middle pace: fewer, clearer differences."""
    arms = [Part(), *(Part(kind, hertz) for kind, hertz in product(ARMS, PACES.values()))]
    outer = (PACES["slowly"], PACES["fast"])
    legs = [Part(), *(Part(kind, hertz) for kind, hertz in product(LEGS, outer))]
    paths = [Part(), *(Part(kind, hertz) for kind, hertz in product(PATHS, outer))]
    return [Motion(_name(*parts), *parts) for parts in product(arms, legs, paths) if any(p.hertz for p in parts)]


def _name(arms: Part, legs: Part, path: Part) -> str:
    pace = {hertz: word for word, hertz in PACES.items()}
    spoken = [
        f"{words[part.kind]} {pace[part.hertz]}"
        for part, words in ((arms, ARMS), (legs, LEGS), (path, PATHS))
        if part.kind != "still"
    ]
    return ", ".join(spoken)


def _descriptor(motion: Motion) -> NDArray[np.int64]:
    """A point whose distances say how easily two motions are told apart: kind weighs more than pace.

    Whole numbers, so that every machine finds the same order.
    """
    paces = list(PACES.values())
    point: list[int] = []
    for part, words in ((motion.arms, ARMS), (motion.legs, LEGS), (motion.path, PATHS)):
        point += [10 * (part.kind == kind) for kind in words]
        point.append(8 * (paces.index(part.hertz) - 1) if part.hertz else 0)
    return np.array(point)
