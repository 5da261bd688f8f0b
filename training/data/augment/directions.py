"""Classes whose meaning a horizontal flip changes, by the words of their names."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # words of snake_case, CamelCase and plain text
_HORIZONTAL = ["left", "leftward", "leftwards", "right", "rightward", "rightwards"]
_TURNING = ["clockwise", "anticlockwise", "counterclockwise", "cw", "ccw"]
_DIRECTIONS = frozenset([*_HORIZONTAL, *_TURNING])


def directional(class_names: Sequence[str]) -> Tensor:
    """Which classes have a left or right in them, so that a mirrored clip would be of another class: (C,) bool.

    A class is directional if one of the words of its name is left, right (also leftwards, rightward, ...), clockwise,
    anticlockwise, counterclockwise, cw or ccw: TinyVIRAT's `vehicle_turning_left`, but not Kinetics' `bright lights`.
    """
    words = ({word.lower() for word in _WORD.findall(name)} for name in class_names)
    return torch.tensor([not _DIRECTIONS.isdisjoint(found) for found in words], dtype=torch.bool)
