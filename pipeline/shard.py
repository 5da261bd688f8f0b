"""shard: filmstrips into WebDataset tars, with the byte offset of each in shards.parquet.

Order, owner and times in the tars are fixed, so the same clips and params give the same bytes everywhere.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing, sweep
from pipeline import manifests, params
from pipeline.layout import SHARDS
from pipeline.manifests import Row
from pipeline.params import Shard
from pipeline.store import read

_DESCRIBED = ("clip_id", "source", "class_id", "class_name", "split", "official_split", "labels", "tinyvirat_labels")


def main() -> None:
    """Read clips.parquet and splits.parquet, write shards.parquet and `data/shards/`."""
    settings = params.load()
    split = {row["class_id"]: row["split"] for row in manifests.read("splits")}
    clips = [row for row in manifests.read("clips") if row["status"] == "ok"]
    clips = [row | {"split": split[row["class_id"]]} for row in clips]
    SHARDS.mkdir(parents=True, exist_ok=True)
    sweep(SHARDS)
    rows: list[Row] = []
    written = set()
    bar = tqdm(desc="shard", total=len(clips), unit="clip", disable=None)
    with bar:
        for path, members in plan(clips, settings.shard):
            rows += write_shard(path, members, settings.resample.fps, settings.engine.store)
            written.add(path)
            bar.update(len(members))
    for stale in set(SHARDS.glob("*.tar")) - written:
        stale.unlink()
    manifests.write("shards", rows)
    size = sum(path.stat().st_size for path in written)
    print(f"shard: {len(rows):,} clips in {len(written)} shards, {size / 1e6:,.0f} MB")


def plan(clips: Iterable[Row], settings: Shard) -> Iterator[tuple[Path, list[Row]]]:
    """Shard files and their clips: by split, shuffled by seed, closed at `max_clips` or before `max_bytes`."""
    for split in ("train", "test"):
        shuffled = sorted((row for row in clips if row["split"] == split), key=lambda row: _shuffle_key(row, settings))
        members: list[Row] = []
        size = number = 0
        for row in shuffled:
            if members and (len(members) >= settings.max_clips or size + row["bytes"] > settings.max_bytes):
                yield SHARDS / f"{split}-{number:06d}.tar", members
                members, size, number = [], 0, number + 1
            members.append(row)
            size += row["bytes"]
        if members:
            yield SHARDS / f"{split}-{number:06d}.tar", members


def write_shard(path: Path, clips: Iterable[Row], fps: int, store: str | None) -> list[Row]:
    """Write one tar atomically; return the shards rows of its clips. Filmstrips are here or in the `store`.

    Raises:
        WorkError: a filmstrip is missing, or is no longer what resize wrote.
    """
    rows = []
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for clip in clips:
            strip = _read_strip(clip, store)
            description = {name: clip[name] for name in _DESCRIBED} | {"valid_frames": clip["valid_frames"], "fps": fps}
            offset = _add(tar, f"{clip['clip_id']}{Path(clip['path']).suffix}", strip)
            _add(tar, f"{clip['clip_id']}.json", json.dumps(description, ensure_ascii=False).encode())
            _add(tar, f"{clip['clip_id']}.cls", str(clip["class_id"]).encode())
            rows.append(clip | {"shard": path.as_posix(), "offset": offset, "length": len(strip)})
    return rows


def _shuffle_key(row: Row, settings: Shard) -> bytes:
    return hashlib.blake2b(f"{settings.seed}/{row['clip_id']}".encode(), digest_size=16).digest()


def _read_strip(clip: Row, store: str | None) -> bytes:
    path = Path(clip["path"])
    try:
        data = read(path, store)
    except FileNotFoundError:
        raise WorkError(f"{path} of clip {clip['clip_id']} is gone: run `dvc repro -s -f resize`, then again") from None
    if hashlib.sha256(data).hexdigest() != clip["sha256"]:
        raise WorkError(
            f"{path} of clip {clip['clip_id']} has changed since resize wrote it: delete it, run `dvc repro -s -f resize`, "
            "then again"
        )
    return data


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member that says nothing of when and by whom it was written; return where its content starts."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    start: Any = tar.offset
    tar.addfile(info, io.BytesIO(data))
    padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    assert tar.offset - padded > start
    return int(tar.offset - padded)
