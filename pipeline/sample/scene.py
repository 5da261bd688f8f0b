"""What a figure stands in front of: a gradient with stripes, blobs or grain."""

import math
import random

import cv2
import numpy as np
from numpy.typing import NDArray


def draw_scene(chance: random.Random, width: int, height: int, *, dark: bool) -> NDArray[np.uint8]:
    """A still scene `(height, width, 3) uint8`, dark or bright as a whole."""
    low, high = (10, 95) if dark else (150, 245)
    corners = np.array(
        [[[chance.uniform(low, high) for _ in range(3)] for _ in range(2)] for _ in range(2)], np.float32
    )
    scene = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    kind = chance.choice(("plain", "stripes", "blobs", "grain"))
    if kind == "stripes":
        angle, pitch = chance.uniform(0, math.pi), chance.uniform(6, 20)
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        wave = np.sin((columns * math.cos(angle) + rows * math.sin(angle)) * 2 * math.pi / pitch)
        scene += 14 * wave[..., None]
    elif kind == "blobs":
        for _ in range(chance.randint(3, 8)):
            where = (chance.randrange(width), chance.randrange(height))
            shade = [chance.uniform(low, high) for _ in range(3)]
            cv2.circle(scene, where, chance.randint(3, max(4, height // 4)), shade, -1, cv2.LINE_AA)
    elif kind == "grain":
        grain = np.random.default_rng(chance.getrandbits(32)).normal(0, 22, (height // 4, width // 4, 3))
        scene += cv2.resize(grain.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(scene, 0, 255).astype(np.uint8)
