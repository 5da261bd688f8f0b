"""518 ways to move. A motion says which parts of a body move, how, and how often; nothing about how a still looks."""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

# Hertz. Training looks at 2.5 to 5 frames a second, so that even the quick pace is seen at least twice a period.
PACES = {"slowly": 0.4, "quickly": 1.0}

ARMS = {
    "flap": "flapping both arms",
    "wave": "waving",
    "windmill": "windmilling",
    "twirl": "twirling one arm",
    "pump": 'pumping "iron"',
    "punch": "punching",
    "chop": "chopping",
}
LEGS = {
    "march": "marching",
    "squat": "squatting",
    "kick": "kicking",
    "straddle": "straddling",
    "ski": "skiing",
}
PATHS = {
    "sway": "swaying",
    "hop": "hopping",
    "orbit": "going round",
    "rock": "rocking",
    "loom": "coming and going",
    "dash": "dashing off",
    "bow": "bowing",
}
_VOCABULARY = (ARMS, LEGS, PATHS)


@dataclass(frozen=True)
class Part:
    """What one part of the body does: a kind of movement and how often (Hz). None is a part that keeps still."""

    kind: str | None = None
    hertz: float = 0.0


@dataclass(frozen=True)
class Motion:
    """A class of movement: what the arms, the legs and the body as a whole do."""

    arms: Part
    legs: Part
    path: Part

    @property
    def name(self) -> str:
        """The movement in plain words, such as `waving slowly while hopping quickly`."""
        pace = {hertz: word for word, hertz in PACES.items()}
        spoken = [
            f"{words[part.kind]} {pace[part.hertz]}"
            for part, words in zip((self.arms, self.legs, self.path), _VOCABULARY, strict=True)
            if part.kind is not None
        ]
        return " while ".join(spoken) if len(spoken) < 3 else ", ".join(spoken)


@cache
def motions(count: int = 518) -> tuple[Motion, ...]:
    """The first `count` motions of an order in which each is as unlike all before it as can be."""
    everything = _all_motions()
    points = np.stack([_descriptor(motion) for motion in everything])
    order = [0]
    distance = np.full(len(points), np.inf)
    while len(order) < count:
        distance = np.minimum(distance, np.square(points - points[order[-1]]).sum(1))
        order.append(int(distance.argmax()))
    return tuple(everything[index] for index in order)


def _all_motions() -> list[Motion]:
    """Every combination in which something moves."""
    choices = [[Part(), *(Part(*way) for way in product(words, PACES.values()))] for words in _VOCABULARY]
    return [Motion(*parts) for parts in product(*choices) if any(part.kind for part in parts)]


def _descriptor(motion: Motion) -> np.ndarray:
    """A point whose distances say how easily two motions are told apart: the kind of a movement weighs more than its pace.

    Whole numbers, so that every machine finds the same order.
    """
    point: list[int] = []
    for part, words in zip((motion.arms, motion.legs, motion.path), _VOCABULARY, strict=True):
        point += [10 * (part.kind == kind) for kind in words]
        point.append(6 * (part.hertz == PACES["quickly"]) - 6 * (part.hertz == PACES["slowly"]))
    return np.array(point)
