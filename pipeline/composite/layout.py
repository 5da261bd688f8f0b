"""Which clip is in which shard: a layout from nothing, and one that keeps the shards that there are."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from common.paths import SHARDS
from pipeline.params import Shard as Settings
from pipeline.records.rows import SPLITS, CompositeRow, Split

_PATH = re.compile(rf"{SHARDS.as_posix()}/({'|'.join(SPLITS)})-(\d{{6,9}})\.tar")


@dataclass(frozen=True)
class Member:
    """A clip of the composite and the split of its class."""

    clip: CompositeRow
    split: Split


@dataclass(frozen=True)
class Shard:
    """A tar to write: its path, and its clips in their order."""

    path: str
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Placed:
    """The place of a clip in the shards that there are: columns of shards.parquet."""

    clip_id: str
    split: str
    sha256: str
    shard: str
    offset: int


def plan(members: Iterable[Member], settings: Settings, first: Mapping[str, int] | None = None) -> Iterator[Shard]:
    """The shards: clips by split, shuffled by seed; a shard ends at `max_clips`, or before it exceeds `max_bytes`.

    Args:
        first: number of the first shard of each split, by default 0.
    """
    shuffled = sorted(members, key=lambda member: _shuffle_key(member.clip.clip_id, settings.seed))
    for split in SPLITS:
        content: list[Member] = []
        size, number = 0, (first or {}).get(split, 0)
        for member in shuffled:
            if member.split != split:
                continue
            if content and (len(content) >= settings.max_clips or size + member.clip.bytes > settings.max_bytes):
                yield Shard(_path(split, number), tuple(content))
                content, size, number = [], 0, number + 1
            content.append(member)
            size += member.clip.bytes
        if content:
            yield Shard(_path(split, number), tuple(content))


def extend(placed: Iterable[Placed], members: Iterable[Member], settings: Settings) -> Iterator[Shard]:
    """The shards that there are, without the clips that are gone, and after them new shards of all other clips.

    A clip whose filmstrip or split is another one than before counts as a new one. Numbers of shards go on from the
    highest; a shard without a clip left is not among the result.
    """
    others = {member.clip.clip_id: member for member in members}
    kept: dict[str, list[Member]] = {}
    first: dict[str, int] = {}
    for place in sorted(placed, key=lambda place: (place.shard, place.offset)):
        match = _PATH.fullmatch(place.shard)
        if match is None or match[1] != place.split:
            continue
        first[place.split] = max(first.get(place.split, 0), int(match[2]) + 1)
        member = others.get(place.clip_id)
        if member is not None and (member.split, member.clip.sha256) == (place.split, place.sha256):
            kept.setdefault(place.shard, []).append(others.pop(place.clip_id))
    for path, content in kept.items():
        yield Shard(path, tuple(content))
    yield from plan(others.values(), settings, first)


def _path(split: Split, number: int) -> str:
    return (SHARDS / f"{split}-{number:06d}.tar").as_posix()


def _shuffle_key(clip_id: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{clip_id}".encode(), digest_size=16).digest()
