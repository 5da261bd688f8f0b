"""What training and test clips have in common: a proof where nothing may be shared, a count where something looks alike."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.records.manifests import Row

TICKS, NEAR = 4, 8  # frames that a fingerprint looks at; bits of its 256 that near-duplicates may differ in
EXAMPLES = 20  # pairs that are named
_FLAT = 6  # grey levels; a picture with less contrast says nothing
_CHUNK = 256


def exact(rows: Iterable[Row], youtube: frozenset[str]) -> list[str]:
    """Clips, contents and YouTube videos (of the sources in `youtube`) that are on more than one side, in words.

    A YouTube video on one side only cannot share seconds with the other, so that overlaps need no check of their own.
    """
    sides: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        marks = [("clip", row["clip_id"]), ("content", row["sha256"])]
        if row["source"] in youtube:
            marks.append(("video", row["video_id"]))
        for mark in marks:
            sides.setdefault(mark, {}).setdefault(row["split"], row["clip_id"])
    return [
        f"{kind} {mark} is in {' and in '.join(f'{side} ({clip})' for side, clip in sorted(found.items()))}"
        for (kind, mark), found in sides.items()
        if len(found) > 1
    ]


def fingerprint(pictures: NDArray[np.uint8]) -> bytes | None:
    """32 bytes that change little when a clip is encoded anew: in four frames, whether it gets brighter to the right.

    Args:
        pictures: (T, H, W, 3) RGB, the clip's own frames without padding.

    Returns:
        The difference hash of each frame, 8x8 bits; None for a clip too flat to tell from others.
    """
    ticks = np.linspace(0, len(pictures) - 1, TICKS).astype(int)
    grey = [
        cv2.resize(cv2.cvtColor(pictures[tick], cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
        for tick in ticks
    ]
    small = np.stack(grey).astype(np.int16)
    if np.ptp(small, axis=(1, 2)).min() < _FLAT:
        return None
    return np.packbits(small[:, :, 1:] > small[:, :, :-1]).tobytes()


def near(prints: Mapping[str, Mapping[str, bytes]]) -> tuple[int, list[tuple[str, str]]]:
    """How many pairs of clips on different sides have almost the same fingerprint, and the first few of them."""
    count = 0
    pairs: list[tuple[str, str]] = []
    for one, other in combinations(sorted(prints), 2):
        if not prints[one] or not prints[other]:
            continue
        ids, others = sorted(prints[one]), sorted(prints[other])
        left, right = _bits(prints[one], ids), _bits(prints[other], others)
        for begin in range(0, len(ids), _CHUNK):
            block = left[begin : begin + _CHUNK, None]
            differ = np.bitwise_count(block[..., 0] ^ right[None, :, 0]).astype(np.int16)
            for word in range(1, TICKS):
                differ += np.bitwise_count(block[..., word] ^ right[None, :, word])
            alike = np.argwhere(differ <= NEAR)
            count += len(alike)
            room = EXAMPLES - len(pairs)
            pairs += [(ids[begin + row], others[column]) for row, column in alike[:room].tolist()]
    return count, pairs


def _bits(prints: Mapping[str, bytes], ids: Sequence[str]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(prints[clip_id] for clip_id in ids), np.uint64).reshape(-1, TICKS)
