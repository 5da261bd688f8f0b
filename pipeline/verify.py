"""verify: decode every sample of every shard and hold it against the manifests; metrics/dataset.json for DVC."""

import hashlib
import json
import statistics
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import WorkError
from common.files import write_json
from common.paths import METRICS, SHARDS
from pipeline import params, runner, sources
from pipeline.composite import leaks
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.manifests import Row
from pipeline.video import filmstrip

_SHOWN = 20  # problems printed; the first few say enough
_BLACK = 20  # grey levels; no pixel of a black clip is brighter


def main() -> None:
    """Read shards.parquet and `data/shards/`; exit 1 with the list when something is wrong."""
    settings = params.load()
    rows = manifests.read("shards")
    by_shard: dict[str, list[Row]] = {}
    for row in rows:
        by_shard.setdefault(row["shard"], []).append(row)
    expected_shape = (settings.resample.frames, settings.resize.size)
    tasks = [runner.Task(path, (path, members, *expected_shape), len(members)) for path, members in by_shard.items()]
    problems = _check_manifests(rows) + _check_leaks(rows, settings)
    looks: Counter[str] = Counter()
    prints: dict[str, dict[str, bytes]] = {side: {} for side in manifests.SIDES}
    bar = tqdm(desc="verify", total=len(rows), unit="clip", disable=None)
    with bar:
        for task, found in runner.run(check_shard, tasks, workers=settings.engine.workers, timeout_s=3600):
            if isinstance(found, ClipError):
                problems.append(f"{task.clip_id}: {found.detail}")
                continue
            problems += found["problems"]
            looks.update(found["looks"])
            for side, known in prints.items():
                known |= found["prints"].get(side, {})
            bar.update(len(by_shard[task.clip_id]))
    strangers = {path.as_posix() for path in SHARDS.glob("*.tar")} - by_shard.keys()
    problems += [f"{path}: in no manifest" for path in sorted(strangers)]
    alike, examples = leaks.near(prints)
    write_json(METRICS / "dataset.json", _metrics(rows, by_shard, looks, alike, len(problems)))
    if problems:
        shown = "\n  ".join(sorted(problems)[:_SHOWN])
        raise WorkError(f"{len(problems)} problems in the shards; run `dvc repro -s -f shard`. They are:\n  {shown}")
    print(f"verify: {len(rows):,} clips in {len(by_shard)} shards are what the manifests say")
    print("verify: no clip, content or YouTube video is on two sides of the split")
    if alike:
        named = ", ".join(f"{one} and {other}" for one, other in examples[:3])
        print(f"verify: {alike:,} pairs of clips on different sides look almost the same: {named}")


def check_shard(task: tuple[str, Sequence[Row], int, int]) -> dict[str, Any]:
    """Problems of one shard; how many of its clips are black or frozen; fingerprints of its clips, by side."""
    path, rows, frames, size = task
    expected = {row["clip_id"]: row for row in sorted(rows, key=lambda row: row["offset"])}
    found: list[str] = []
    problems: list[str] = []
    looks: Counter[str] = Counter()
    prints: dict[str, dict[str, bytes]] = {}
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
                    strip_problems, pictures = _check_strip(row, data, member.offset_data, (frames, size))
                    problems += strip_problems
                    if pictures is not None:
                        _look(row, pictures, looks, prints)
                elif not _describes(row, kind, data):
                    problems.append(f"{path}: {member.name} contradicts the manifest")
    except (OSError, tarfile.TarError) as error:
        problems.append(f"{path}: {error}")
    if found != list(expected):
        missing = [clip_id for clip_id in expected if clip_id not in set(found)]
        problems.append(
            f"{path}: holds {len(found)} of {len(expected)} clips" + (f", not {missing[0]}" if missing else "")
        )
    return {"problems": problems, "looks": dict(looks), "prints": prints}


def _check_strip(
    row: Row, data: bytes, offset: int, shape: tuple[int, int]
) -> tuple[list[str], NDArray[np.uint8] | None]:
    """What is wrong with a filmstrip, or the clip's own frames."""
    where = f"{row['shard']}: {row['clip_id']}"
    if (offset, len(data)) != (row["offset"], row["length"]):
        return [f"{where} lies at {offset}+{len(data)}, the manifest says {row['offset']}+{row['length']}"], None
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        return [f"{where} has other content than the manifest says"], None
    try:
        pictures = filmstrip.decode(data, shape[1])
    except ValueError as error:
        return [f"{where}: {error}"], None
    if len(pictures) != shape[0]:
        return [f"{where} has {len(pictures)} frames instead of {shape[0]}"], None
    if not 1 <= row["valid_frames"] <= shape[0]:
        return [f"{where}: valid_frames is {row['valid_frames']}"], None
    return [], pictures[: row["valid_frames"]]


def _look(row: Row, shown: NDArray[np.uint8], looks: Counter[str], prints: dict[str, dict[str, bytes]]) -> None:
    """Count what is odd but not wrong, and take the clip's fingerprint."""
    looks["black"] += int(shown.max() < _BLACK)
    looks["frozen"] += len(shown) > 1 and bool((shown[1:] == shown[0]).all())
    mark = leaks.fingerprint(shown)
    if mark is not None:
        prints.setdefault(row["split"], {})[row["clip_id"]] = mark


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
    split = {row["class_id"]: row["split"] for row in manifests.read("splits")}
    clips = [row for row in manifests.read("clips") if row["status"] == "ok"]
    wanted = {row["clip_id"] for row in clips if split.get(row["class_id"]) in manifests.SIDES}
    ids = Counter(row["clip_id"] for row in rows)
    problems += [f"{clip_id} is {count} times in shards.parquet" for clip_id, count in ids.items() if count > 1]
    problems += [f"{clip_id} is in no shard" for clip_id in sorted(wanted - ids.keys())]
    problems += [
        f"{row['clip_id']} is in the wrong split" for row in rows if split.get(row["class_id"]) != row["split"]
    ]
    return problems


def _check_leaks(rows: Sequence[Row], settings: params.PipelineParams) -> list[str]:
    videos = {row["clip_id"]: row["video_id"] for row in manifests.read("clips")}
    kinds = {name: entry.kind for name, entry in sources.parse(settings.sources).items()}
    youtube = frozenset(name for name, kind in kinds.items() if kind in ("kinetics400", "minikinetics200"))
    return leaks.exact((row | {"video_id": videos.get(row["clip_id"])} for row in rows), youtube)


def _metrics(
    rows: Sequence[Row], shards: dict[str, Any], looks: Counter[str], alike: int, problems: int
) -> dict[str, Any]:
    def count(split: str) -> dict[str, int]:
        inside = [row for row in rows if row["split"] == split]
        return {"classes": len({row["class_id"] for row in inside}), "clips": len(inside)}

    per_class = Counter(row["class_id"] for row in rows).values()
    return {
        "classes": len(per_class),
        "clips": len(rows),
        **{side: count(side) for side in manifests.SIDES if side != "val" or count(side)["clips"]},
        "clips_by_source": dict(sorted(Counter(row["source"] for row in rows).items())),
        "clips_per_class": {
            "min": min(per_class, default=0),
            "median": statistics.median(per_class) if per_class else 0,
            "max": max(per_class, default=0),
        },
        "failed": manifests.failures(manifests.read("clips")),
        "shards": len(shards),
        "bytes": sum(Path(path).stat().st_size for path in shards if Path(path).exists()),
        "black_clips": looks["black"],
        "frozen_clips": looks["frozen"],
        "near_duplicates_across_split": alike,
        "problems": problems,
    }
