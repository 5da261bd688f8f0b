"""Leaks between splits: an exact check, and a count of near-duplicates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_EXAMPLES = 20  # pairs of near-duplicates that are listed


@dataclass(frozen=True)
class Identity:
    """The properties of a clip that must not occur in two splits."""

    clip_id: str
    split: str
    sha256: str
    youtube_id: str | None  # None: not from YouTube


@dataclass(frozen=True)
class NearDuplicates:
    """Clips that look almost the same as one of another split: their number, and examples of pairs."""

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


def near_duplicates(clips: Iterable[Identity], duplicate_of: Mapping[str, str]) -> NearDuplicates:
    """The near-duplicates that are in another split than the clip that they are like.

    Args:
        duplicate_of: clip ids of near-duplicates, and the clip that each is like; both may be in no split.
    """
    splits = {clip.clip_id: clip.split for clip in clips}
    pairs = [
        (first, other)
        for other, first in sorted(duplicate_of.items())
        if first in splits and other in splits and splits[first] != splits[other]
    ]
    return NearDuplicates(len(pairs), tuple(pairs[:MAX_EXAMPLES]))
