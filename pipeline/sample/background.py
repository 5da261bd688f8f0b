"""The background behind the figure: a colour gradient, plain or with stripes, blobs or grain."""

import math
import random

import cv2
import numpy as np
from numpy.typing import NDArray


def draw_background(rng: random.Random, width: int, height: int, *, dark: bool) -> NDArray[np.uint8]:
    """A random background `(height, width, 3) uint8`, dark or bright as a whole."""
    low, high = (10, 95) if dark else (150, 245)
    corners = np.array([[[rng.uniform(low, high) for _ in range(3)] for _ in range(2)] for _ in range(2)], np.float32)
    picture = np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    texture = rng.choice(("plain", "stripes", "blobs", "grain"))
    if texture == "stripes":
        angle, period = rng.uniform(0, math.pi), rng.uniform(6, 20)
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        wave = np.sin((columns * math.cos(angle) + rows * math.sin(angle)) * 2 * math.pi / period)
        picture += 14 * wave[..., None]
    elif texture == "blobs":
        for _ in range(rng.randint(3, 8)):
            centre = (rng.randrange(width), rng.randrange(height))
            colour = [rng.uniform(low, high) for _ in range(3)]
            cv2.circle(picture, centre, rng.randint(3, max(4, height // 4)), colour, -1, cv2.LINE_AA)
    elif texture == "grain":
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 22, (height // 4, width // 4, 3))
        picture += cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)
