"""The clips to export, a part for each shard: their filmstrips as they are in the tar, as images or as frames of another size."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.errors import WorkError
from pipeline.records.rows import ShardRow
from pipeline.records.schema import schema
from pipeline.video import filmstrip

REMEDY = "run `dvc repro -s -f shard`"
_PLACE = {"status", "error", "error_detail", "attempts", "key", "shard", "offset", "length"}  # of the shards alone
COLUMNS = tuple(field for field in schema(ShardRow) if field.name not in _PLACE)  # that every export has


@dataclass(frozen=True)
class Part:
    """The clips of one shard that are exported, in their order there.

    Args:
        name: of the shard, without suffix.
        shard: its path.
    """

    name: str
    shard: str
    rows: tuple[ShardRow, ...]


@dataclass(frozen=True)
class Shape:
    """How clips are in the shards, and the size that is wanted.

    Args:
        frames: of a filmstrip.
        size: width and height of a frame in the shards, pixels.
        wanted: those of an exported frame, at most `size`.
        fps: frames per second.
        image: format of the filmstrips, and `quality` of one that is encoded anew.
    """

    frames: int
    size: int
    wanted: int
    fps: int
    image: Literal["jpg", "webp"]
    quality: int


def parts(rows: Iterable[ShardRow], split: str | None) -> list[Part]:
    """The parts of one split, or of all, in the order of the shards' names."""
    by_shard: dict[str, list[ShardRow]] = {}
    for row in sorted(rows, key=lambda row: (row.shard, row.offset)):
        if split is None or row.split == split:
            by_shard.setdefault(row.shard, []).append(row)
    return [Part(Path(shard).stem, shard, tuple(inside)) for shard, inside in by_shard.items()]


def filmstrips(part: Part) -> Iterator[tuple[ShardRow, bytes]]:
    """Each clip with the bytes of its filmstrip, one at a time.

    Raises:
        WorkError: the shard is missing, or a filmstrip is not the one in shards.parquet.
    """
    try:
        with Path(part.shard).open("rb") as tar:
            for row in part.rows:
                tar.seek(row.offset)
                data = tar.read(row.length)
                if hashlib.sha256(data).hexdigest() != row.sha256:
                    raise WorkError(f"{part.shard}: {row.clip_id} differs from shards.parquet: {REMEDY}")
                yield row, data
    except OSError as error:
        raise WorkError(f"{part.shard} cannot be read: {error.strerror}: {REMEDY}") from None


def frames(row: ShardRow, data: bytes, shape: Shape) -> NDArray[np.uint8]:
    """All frames of the wanted size, `(frames, wanted, wanted, 3) uint8` RGB; smaller ones are averages of areas.

    Raises:
        WorkError: the filmstrip is not of the shape in params.yaml.
    """
    try:
        found = filmstrip.decode(data, shape.size)
    except ValueError as error:
        raise WorkError(f"{row.shard}: {row.clip_id}: {error}: {REMEDY}") from None
    if len(found) != shape.frames or not 1 <= row.valid_frames <= shape.frames:
        raise WorkError(f"{row.shard}: {row.clip_id} has {len(found)} frames, not {shape.frames}: {REMEDY}")
    if shape.wanted == shape.size:
        return found
    size = (shape.wanted, shape.wanted)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in found]).astype(np.uint8)


def image(row: ShardRow, data: bytes, shape: Shape) -> bytes:
    """The filmstrip as an image file: the very bytes of the shard, unless another size is wanted."""
    if shape.wanted == shape.size:
        return data
    return filmstrip.encode(frames(row, data, shape), format=shape.image, quality=shape.quality)


def columns(rows: Iterable[ShardRow]) -> "dict[str, pa.Array[Any]]":
    """The columns of `COLUMNS`, by name."""
    found = list(rows)
    return {field.name: pa.array([getattr(row, field.name) for row in found], field.type) for field in COLUMNS}


def differing(row: ShardRow, values: dict[str, Any]) -> str | None:
    """The first column of a re-read row that is not the row's own; None if all are."""
    for field in COLUMNS:
        own = getattr(row, field.name)
        if values[field.name] != (list(own) if isinstance(own, tuple) else own):
            return field.name
    return None
