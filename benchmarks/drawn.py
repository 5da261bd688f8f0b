"""Drawn filmstrips in shards with a manifest, so that training can be measured on a machine without the dataset."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

TICKS, SIZE = 100, 64
_SHARD = 1000  # clips in a shard
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def draw_frames(seed: int, speed: float = 1.0) -> NDArray[np.uint8]:
    """Discs that circle before a drifting, grainy background, (100, 64, 64, 3) uint8.

    Args:
        seed: of the picture.
        speed: of the discs, relative to half a turn a second.
    """
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 200, (8, 16, 3)).astype(np.uint8)
    background = cv2.resize(coarse, (2 * SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    centres, radii = generator.uniform(16, 48, (4, 2)), generator.integers(4, 12, 4)
    colours = generator.integers(60, 255, (4, 3))
    phases, distances = generator.uniform(0, 2 * np.pi, 4), generator.uniform(4, 20, 4)
    frames = np.empty((TICKS, SIZE, SIZE, 3), np.uint8)
    for tick, frame in enumerate(frames):
        left = tick * SIZE // TICKS
        frame[:] = background[:, left : left + SIZE]
        angles = phases + speed * np.pi * tick / 10
        for (x, y), angle, distance, radius, colour in zip(centres, angles, distances, radii, colours, strict=True):
            place = round(x + distance * np.cos(angle)), round(y + distance * np.sin(angle))
            cv2.circle(frame, place, int(radius), colour.tolist(), -1, cv2.LINE_AA)
    grain = 4 * generator.standard_normal((TICKS, SIZE, SIZE, 1), np.float32)
    grainy: NDArray[np.uint8] = (frames + grain).clip(0, 255).astype(np.uint8)
    return grainy


def encode(frames: NDArray[np.uint8]) -> bytes:
    """The filmstrip of frames (T, S, S, 3) as JPEG of the dataset's quality."""
    strip = cv2.cvtColor(frames.reshape(-1, frames.shape[2], 3), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", strip, _JPEG)[1].tobytes()


def write_dataset(root: Path, clips: int, *, copies: int = 1, classes: int = 16, held_out: int = 6) -> None:
    """Write data/shards/ and manifests/shards.parquet below `root`, with clips of classes that differ in speed.

    Classes take turns; the last `held_out` of them are the test split. A class's clips have one of three labels.

    Args:
        root: folder of the project.
        clips: filmstrips in the shards.
        copies: rows of the manifest for each of them, with ids of their own.
        classes: of the clips.
        held_out: classes of the test split.
    """
    with ThreadPoolExecutor() as pool:
        filmstrips = list(pool.map(lambda clip: encode(draw_frames(clip, 0.1 + clip % classes / 8)), range(clips)))
    (root / "data/shards").mkdir(parents=True)
    (root / "manifests").mkdir()
    rows: list[dict[str, Any]] = []
    for split in ("train", "test"):
        chosen = [clip for clip in range(clips) if (clip % classes >= classes - held_out) == (split == "test")]
        for first in range(0, len(chosen), _SHARD):
            shard = f"data/shards/{split}-{first // _SHARD:06d}.tar"
            numbers = chosen[first : first + _SHARD]
            places = _write_shard(root / shard, numbers, filmstrips)
            for number, place in zip(numbers, places, strict=True):
                row = _row(number % classes, number, split, shard, place, filmstrips[number])
                rows += [{"clip_id": f"{_clip_id(number)}-{copy}", **row} for copy in range(copies)]
    pq.write_table(pa.Table.from_pylist(rows), root / "manifests/shards.parquet")


def _write_shard(path: Path, numbers: Sequence[int], filmstrips: Sequence[bytes]) -> list[int]:
    """Write the filmstrips of some clips; returns their first bytes in the file."""
    places = []
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            entry = tarfile.TarInfo(f"{_clip_id(number)}.jpg")
            entry.size = len(filmstrips[number])
            places.append(tar.offset + tarfile.BLOCKSIZE)
            tar.addfile(entry, io.BytesIO(filmstrips[number]))
    return places


def _clip_id(number: int) -> str:
    return f"drawn-{number:06d}"


def _row(class_id: int, number: int, split: str, shard: str, offset: int, filmstrip: bytes) -> dict[str, Any]:
    return {
        "source": "tinyvirat",
        "status": "ok",
        "class_id": class_id,
        "class_name": f"class {class_id}",
        "split": split,
        "official_split": "test" if number % 5 == 0 else "train",
        "tinyvirat_labels": [f"label {class_id % 3}"],
        "valid_frames": TICKS,
        "sha256": hashlib.sha256(filmstrip).hexdigest(),
        "shard": shard,
        "offset": offset,
        "length": len(filmstrip),
    }
