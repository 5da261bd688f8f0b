"""shard: filmstrips into WebDataset tars, with the byte offset of each in shards.parquet.

Order, owner and times in the tars are fixed, so the same clips and params give the same bytes everywhere.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing, sweep, write_bytes
from common.paths import SHARDS
from pipeline import params, runner, sources
from pipeline.composite import card
from pipeline.params import Shard
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.manifests import SIDES, Row
from pipeline.runner.ledger import file_digest
from pipeline.runner.store import Store, read

_DESCRIBED = ("clip_id", "source", "class_id", "class_name", "split", "official_split", "labels", "tinyvirat_labels")
_PATIENCE_S = 3600.0  # for one shard


def main() -> None:
    """Read clips.parquet and splits.parquet, write shards.parquet and `data/shards/`, the dataset card among them."""
    settings = params.load()
    split = {row["class_id"]: row["split"] for row in manifests.read("splits")}
    clips = [row for row in manifests.read("clips") if row["status"] == "ok"]
    clips = [row | {"split": split[row["class_id"]]} for row in clips]
    SHARDS.mkdir(parents=True, exist_ok=True)
    sweep(SHARDS)
    tasks = [
        runner.Task(str(path), (path, members, settings.resample.fps, settings.engine.store), len(members))
        for path, members in plan(clips, settings.shard)
    ]
    rows: list[Row] = []
    digests: dict[str, str] = {}
    bar = tqdm(desc="shard", total=sum(len(task.argument[1]) for task in tasks), unit="clip", disable=None)
    with (
        bar,
        closing(runner.run(write_shard, tasks, workers=settings.engine.workers, timeout_s=_PATIENCE_S)) as answers,
    ):
        for task, written in answers:
            if isinstance(written, ClipError):
                raise WorkError(f"{task.clip_id}: {written.detail}: run the same command again")
            rows += [row | place for row, place in zip(task.argument[1], written["places"], strict=True)]
            digests[Path(task.clip_id).name] = written["sha256"]
            bar.update(len(task.argument[1]))
    for stale in set(SHARDS.glob("*.tar")) - {Path(task.clip_id) for task in tasks}:
        stale.unlink()
    kinds = {name: entry.kind for name, entry in sources.parse(settings.sources).items()}
    write_bytes(SHARDS / "README.md", card.write(rows, digests, kinds, settings).encode())
    manifests.write("shards", rows)
    if settings.shard.copy_to is not None:
        _copy(settings.shard.copy_to, [Path(task.clip_id) for task in tasks])
    size = sum(Path(task.clip_id).stat().st_size for task in tasks)
    print(f"shard: {len(rows):,} clips in {len(tasks)} shards, {size / 1e6:,.0f} MB")


def plan(clips: Iterable[Row], settings: Shard) -> Iterator[tuple[Path, list[Row]]]:
    """Shard files and their clips: by split, shuffled by seed, closed at `max_clips` or before `max_bytes`."""
    for split in SIDES:
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


def write_shard(task: tuple[Path, Sequence[Row], int, str | None]) -> dict[str, Any]:
    """Write one tar atomically, from `(path, clips, fps, store)`; filmstrips are here or in the `store`.

    Returns:
        `places`, for each clip its shard, offset and length; and `sha256` of the tar.

    Raises:
        WorkError: a filmstrip is missing, or is no longer what resize wrote.
    """
    path, clips, fps, store = task
    places = []
    with replacing(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            for clip in clips:
                strip = _read_strip(clip, store)
                description = {name: clip[name] for name in _DESCRIBED} | {
                    "valid_frames": clip["valid_frames"],
                    "fps": fps,
                }
                offset = _add(tar, f"{clip['clip_id']}{Path(clip['path']).suffix}", strip)
                _add(tar, f"{clip['clip_id']}.json", json.dumps(description, ensure_ascii=False).encode())
                _add(tar, f"{clip['clip_id']}.cls", str(clip["class_id"]).encode())
                places.append({"shard": path.as_posix(), "offset": offset, "length": len(strip)})
        digest = file_digest(temporary)
    return {"places": places, "sha256": digest}


def _copy(url: str, shards: Sequence[Path]) -> None:
    """Bring what a reader needs to `url`, under the same names; files that are there already stay."""
    store = Store(url)
    try:
        for path in tqdm([*shards, SHARDS / "README.md", manifests.path_of("shards")], desc="copy", disable=None):
            store.push(path)
    except (OSError, ValueError, ImportError) as error:
        raise WorkError(f"shard.copy_to: {url} cannot be written: {error}") from None


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
