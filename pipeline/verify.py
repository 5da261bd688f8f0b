"""verify: decode every sample of every shard and hold it against the manifests; metrics/dataset.json for DVC."""

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import WorkError
from common.files import write_json
from pipeline import engine, manifests, params
from pipeline.failures import ClipError
from pipeline.layout import METRICS, SHARDS
from pipeline.manifests import Row
from pipeline.video import filmstrip

_SHOWN = 20  # problems printed; the first few say enough


def main() -> None:
    """Read shards.parquet and `data/shards/`; exit 1 with the list when something is wrong."""
    settings = params.load()
    rows = manifests.read("shards")
    by_shard: dict[str, list[Row]] = {}
    for row in rows:
        by_shard.setdefault(row["shard"], []).append(row)
    expected_shape = (settings.resample.frames, settings.resize.size)
    tasks = [engine.Task(path, (path, members, *expected_shape), len(members)) for path, members in by_shard.items()]
    problems, black, frozen = _check_manifests(rows), 0, 0
    bar = tqdm(desc="verify", total=len(rows), unit="clip", disable=None)
    with bar:
        for task, found in engine.run(check_shard, tasks, workers=settings.engine.workers, timeout_s=3600):
            if isinstance(found, ClipError):
                problems.append(f"{task.clip_id}: {found.detail}")
                continue
            problems += found["problems"]
            black, frozen = black + found["black"], frozen + found["frozen"]
            bar.update(len(by_shard[task.clip_id]))
    strangers = {path.as_posix() for path in SHARDS.glob("*.tar")} - by_shard.keys()
    problems += [f"{path}: in no manifest" for path in sorted(strangers)]
    write_json(METRICS / "dataset.json", _metrics(rows, by_shard, black, frozen, len(problems)))
    if problems:
        shown = "\n  ".join(sorted(problems)[:_SHOWN])
        raise WorkError(f"{len(problems)} problems in the shards; run `dvc repro -s -f shard`. They are:\n  {shown}")
    print(f"verify: {len(rows):,} clips in {len(by_shard)} shards are what the manifests say")


def check_shard(task: tuple[str, Sequence[Row], int, int]) -> dict[str, Any]:
    """Problems of one shard, and how many of its clips are black or frozen (those are counted, not refused)."""
    path, rows, frames, size = task
    expected = {row["clip_id"]: row for row in sorted(rows, key=lambda row: row["offset"])}
    found: list[str] = []
    problems: list[str] = []
    looks: Counter[str] = Counter()
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                clip_id, _, kind = member.name.rpartition(".")
                data = tar.extractfile(member).read()  # type: ignore[union-attr]
                row = expected.get(clip_id)
                if row is None:
                    problems.append(f"{path}: {member.name} is in no manifest")
                elif kind in ("jpg", "webp"):
                    found.append(clip_id)
                    problems += _check_strip(row, data, member.offset_data, (frames, size), looks)
                elif not _describes(row, kind, data):
                    problems.append(f"{path}: {member.name} contradicts the manifest")
    except (OSError, tarfile.TarError) as error:
        problems.append(f"{path}: {error}")
    if found != list(expected):
        missing = [clip_id for clip_id in expected if clip_id not in set(found)]
        problems.append(
            f"{path}: holds {len(found)} of {len(expected)} clips" + (f", not {missing[0]}" if missing else "")
        )
    return {"problems": problems, "black": looks["black"], "frozen": looks["frozen"]}


def _check_strip(row: Row, data: bytes, offset: int, shape: tuple[int, int], looks: Counter[str]) -> list[str]:
    where = f"{row['shard']}: {row['clip_id']}"
    if (offset, len(data)) != (row["offset"], row["length"]):
        return [f"{where} lies at {offset}+{len(data)}, the manifest says {row['offset']}+{row['length']}"]
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        return [f"{where} has other content than the manifest says"]
    try:
        pictures = filmstrip.decode(data, shape[1])
    except ValueError as error:
        return [f"{where}: {error}"]
    if len(pictures) != shape[0]:
        return [f"{where} has {len(pictures)} frames instead of {shape[0]}"]
    if not 1 <= row["valid_frames"] <= shape[0]:
        return [f"{where}: valid_frames is {row['valid_frames']}"]
    shown = pictures[: row["valid_frames"]]
    looks["black"] += int(shown.max() < 20)
    looks["frozen"] += len(shown) > 1 and bool((shown == shown[0]).all())
    return []


def _describes(row: Row, kind: str, data: bytes) -> bool:
    try:
        if kind == "cls":
            return int(data) == row["class_id"]
        described = json.loads(data)
        return kind == "json" and all(described[key] == row[key] for key in ("clip_id", "class_id", "split"))
    except (ValueError, KeyError, TypeError):
        return False


def _check_manifests(rows: Sequence[Row]) -> list[str]:
    """Whether shards.parquet holds each clip of the composite once, in its class's split."""
    problems = []
    wanted = {row["clip_id"] for row in manifests.read("clips") if row["status"] == "ok"}
    ids = Counter(row["clip_id"] for row in rows)
    problems += [f"{clip_id} is {count} times in shards.parquet" for clip_id, count in ids.items() if count > 1]
    problems += [f"{clip_id} is in no shard" for clip_id in sorted(wanted - ids.keys())]
    split = {row["class_id"]: row["split"] for row in manifests.read("splits")}
    problems += [
        f"{row['clip_id']} is in the wrong split" for row in rows if split.get(row["class_id"]) != row["split"]
    ]
    return problems


def _metrics(rows: Sequence[Row], shards: dict[str, Any], black: int, frozen: int, problems: int) -> dict[str, Any]:
    def count(split: str) -> dict[str, int]:
        inside = [row for row in rows if row["split"] == split]
        return {"classes": len({row["class_id"] for row in inside}), "clips": len(inside)}

    per_class = Counter(row["class_id"] for row in rows).values()
    return {
        "classes": len(per_class),
        "clips": len(rows),
        "train": count("train"),
        "test": count("test"),
        "clips_by_source": dict(sorted(Counter(row["source"] for row in rows).items())),
        "clips_per_class": {"min": min(per_class, default=0), "max": max(per_class, default=0)},
        "failed": manifests.failures(manifests.read("clips")),
        "shards": len(shards),
        "bytes": sum(Path(path).stat().st_size for path in shards if Path(path).exists()),
        "black_clips": black,
        "frozen_clips": frozen,
        "problems": problems,
    }
