"""Leaks between splits: an exact check, and a count of near-duplicates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

FRAMES = 4  # of each clip, in its fingerprint
MAX_DISTANCE = 8  # of the 256 bits of two fingerprints; near-duplicates differ in no more
MAX_EXAMPLES = 20  # pairs of near-duplicates that are listed
_MIN_CONTRAST = 6  # grey levels; a frame with less has no meaningful hash
_CHUNK = 256


@dataclass(frozen=True)
class Identity:
    """The properties of a clip that must not occur in two splits."""

    clip_id: str
    split: str
    sha256: str
    youtube_id: str | None  # None: not from YouTube


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of clips in different splits that look almost the same."""

    count: int
    examples: tuple[tuple[str, str], ...]  # clip ids


def find_leaks(clips: Iterable[Identity]) -> list[str]:
    """A message for each clip, filmstrip and YouTube video that is in more than one split.

    Overlaps in time need no check of their own: they occur within one video only.
    """
    splits: dict[tuple[str, str], dict[str, str]] = {}
    for clip in clips:
        properties = [("clip", clip.clip_id), ("content", clip.sha256)]
        if clip.youtube_id is not None:
            properties.append(("video", clip.youtube_id))
        for item in properties:
            splits.setdefault(item, {}).setdefault(clip.split, clip.clip_id)
    return [
        f"{kind} {value} is in {' and in '.join(f'{split} ({clip_id})' for split, clip_id in sorted(clip_ids.items()))}"
        for (kind, value), clip_ids in splits.items()
        if len(clip_ids) > 1
    ]


def fingerprint(frames: NDArray[np.uint8]) -> bytes | None:
    """The difference hash of four frames, 32 bytes, which changes little when a clip is encoded again.

    A bit is set where brightness rises from one cell of a 9x8 grid to its right neighbour.

    Args:
        frames: (T, H, W, 3) RGB, the clip's own frames without padding.

    Returns:
        8x8 bits per frame; None for a clip with too little contrast.
    """
    ticks = np.linspace(0, len(frames) - 1, FRAMES).astype(int)
    grey = [
        cv2.resize(cv2.cvtColor(frames[tick], cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
        for tick in ticks
    ]
    small = np.stack(grey).astype(np.int16)
    if np.ptp(small, axis=(1, 2)).min() < _MIN_CONTRAST:
        return None
    return np.packbits(small[:, :, 1:] > small[:, :, :-1]).tobytes()


def near_duplicates(fingerprints: Mapping[str, Mapping[str, bytes]]) -> NearDuplicates:
    """Pairs of clips in different splits whose fingerprints differ in at most `MAX_DISTANCE` bits.

    Args:
        fingerprints: by split, then by clip_id.
    """
    count = 0
    examples: list[tuple[str, str]] = []
    for one, other in combinations(sorted(fingerprints), 2):
        if not fingerprints[one] or not fingerprints[other]:
            continue
        ids, others = sorted(fingerprints[one]), sorted(fingerprints[other])
        left, right = _as_words(fingerprints[one], ids), _as_words(fingerprints[other], others)
        for begin in range(0, len(ids), _CHUNK):
            block = left[begin : begin + _CHUNK, None]
            distance = np.bitwise_count(block[..., 0] ^ right[None, :, 0]).astype(np.int16)
            for word in range(1, FRAMES):
                distance += np.bitwise_count(block[..., word] ^ right[None, :, word])
            pairs = np.argwhere(distance <= MAX_DISTANCE)
            count += len(pairs)
            examples += [
                (ids[begin + row], others[column]) for row, column in pairs[: MAX_EXAMPLES - len(examples)].tolist()
            ]
    return NearDuplicates(count, tuple(examples))


def _as_words(fingerprints: Mapping[str, bytes], ids: Sequence[str]) -> NDArray[np.uint64]:
    """One row per clip, one 64-bit word per frame."""
    return np.frombuffer(b"".join(fingerprints[clip_id] for clip_id in ids), np.uint64).reshape(-1, FRAMES)
