"""verify: decode every sample of every shard, compare it with the manifests, and write metrics/dataset.json for DVC."""

import hashlib
import json
import statistics
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import WorkError
from common.files import sweep, write_json
from common.paths import METRICS, SHARDS
from pipeline import params, runner, sources
from pipeline.composite import leaks
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.rows import SPLITS, CompositeRow, ShardRow, SplitRow
from pipeline.sample import digests
from pipeline.video import filmstrip

_TIMEOUT_S = 3600.0  # per shard
_MAX_PRINTED = 20  # problems
_BLACK = 20  # grey levels; no pixel of a black clip is brighter


@dataclass(frozen=True)
class Shard:
    """A tar to check: its path, and the rows of its clips in the order of their offsets."""

    path: str
    rows: tuple[ShardRow, ...]


@dataclass(frozen=True)
class FilmstripShape:
    """The number of frames of a filmstrip, and the width and height of a frame in pixels."""

    frames: int
    size: int


@dataclass
class ShardReport:
    """Problems of a shard, one line each; numbers of black and frozen clips; fingerprints by split and clip_id."""

    problems: list[str] = field(default_factory=list)
    black: int = 0
    frozen: int = 0
    fingerprints: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def add(self, other: "ShardReport") -> None:
        """Add the content of another report to this one."""
        self.problems += other.problems
        self.black += other.black
        self.frozen += other.frozen
        for split, fingerprints in other.fingerprints.items():
            self.fingerprints.setdefault(split, {}).update(fingerprints)


def main() -> None:
    """Read shards.parquet and `data/shards/`, write metrics/dataset.json.

    Raises:
        WorkError: a shard or a manifest is wrong; the message lists the problems.
    """
    settings = params.load()
    rows = manifests.read(ShardRow)
    clips = manifests.read(CompositeRow)
    facts = sources.facts(settings.sources)
    youtube = {name for name, source in facts.items() if source.youtube_videos}
    shards = [Shard(path, tuple(inside)) for path, inside in _by_shard(rows).items()]

    report = ShardReport(_check_manifests(rows, clips, manifests.read(SplitRow)))
    videos = {clip.clip_id: clip.video_id for clip in clips if clip.source in youtube}
    report.problems += leaks.find_leaks(
        leaks.Identity(row.clip_id, row.split, row.sha256, videos.get(row.clip_id)) for row in rows
    )
    shape = FilmstripShape(settings.resample.frames, settings.resize.size)
    report.add(_check_all(shards, shape, settings.engine.workers))
    unknown = {path.as_posix() for path in SHARDS.glob("*.tar")} - {shard.path for shard in shards}
    report.problems += [f"{path}: not in shards.parquet" for path in sorted(unknown)]
    similar = leaks.near_duplicates(report.fingerprints)
    sweep(METRICS)
    write_json(METRICS / "dataset.json", _metrics(rows, clips, report, similar.count))

    if report.problems:
        listed = "\n  ".join(sorted(report.problems)[:_MAX_PRINTED])
        raise WorkError(f"{len(report.problems)} problems in the shards; run `dvc repro -s -f shard`:\n  {listed}")
    print(f"verify: {len(rows):,} clips in {len(shards)} shards are as in the manifests")
    print("verify: no clip, content or YouTube video is in two splits")
    if similar.count:
        named = ", ".join(f"{one} and {other}" for one, other in similar.examples[:3])
        print(f"verify: {similar.count:,} pairs of clips in different splits look almost the same: {named}")
    if (comparison := digests.compare(settings)) is not None:
        print(f"verify: {comparison}")


def check_shard(shard: Shard, shape: FilmstripShape) -> ShardReport:
    """Compare the members of a tar with the rows of its clips."""
    expected = {row.clip_id: row for row in shard.rows}
    found: list[str] = []
    report = ShardReport()
    try:
        with tarfile.open(shard.path, "r:") as tar:
            for member in tar:
                clip_id, _, suffix = member.name.rpartition(".")
                content = tar.extractfile(member)
                data = content.read() if content is not None else b""
                row = expected.get(clip_id)
                if row is None:
                    report.problems.append(f"{shard.path}: {member.name} is not in shards.parquet")
                elif suffix in ("jpg", "webp"):
                    found.append(clip_id)
                    try:
                        _describe(row, _decode(row, data, member.offset_data, shape), report)
                    except ValueError as error:
                        report.problems.append(f"{shard.path}: {clip_id}: {error}")
                elif not _agrees(row, suffix, data):
                    report.problems.append(f"{shard.path}: {member.name} contradicts shards.parquet")
    except (OSError, tarfile.TarError) as error:
        report.problems.append(f"{shard.path}: {error}")
    if found != list(expected):
        missing = [clip_id for clip_id in expected if clip_id not in set(found)]
        example = f"; {missing[0]} is missing" if missing else "; repeated, or in another order"
        report.problems.append(f"{shard.path}: {len(found)} filmstrips, {len(expected)} in shards.parquet{example}")
    return report


def _by_shard(rows: Iterable[ShardRow]) -> dict[str, list[ShardRow]]:
    by_shard: dict[str, list[ShardRow]] = {}
    for row in sorted(rows, key=lambda row: (row.shard, row.offset)):
        by_shard.setdefault(row.shard, []).append(row)
    return by_shard


def _check_all(shards: Sequence[Shard], shape: FilmstripShape, workers: int) -> ShardReport:
    """Check the shards on all cores."""
    report = ShardReport()
    tasks = [runner.Task(shard.path, shard, len(shard.rows)) for shard in shards]
    bar = tqdm(desc="verify", total=sum(len(shard.rows) for shard in shards), unit="clip", disable=None)
    answers = runner.run(runner.Job(check_shard, shape, _TIMEOUT_S), tasks, workers=workers)
    with bar, closing(answers):
        for answer in answers:
            if isinstance(answer.result, ClipError):
                report.problems.append(f"{answer.task.name}: {answer.result.detail}")
            else:
                report.add(answer.result)
            bar.update(len(answer.task.row.rows))
    return report


def _decode(row: ShardRow, data: bytes, offset: int, shape: FilmstripShape) -> NDArray[np.uint8]:
    """The clip's own frames, without padding.

    Raises:
        ValueError: the filmstrip is not as in the manifest, or not of this shape.
    """
    if (offset, len(data)) != (row.offset, row.length):
        raise ValueError(f"{len(data)} bytes at {offset}, but {row.length} bytes at {row.offset} in shards.parquet")
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise ValueError("its sha256 differs from shards.parquet")
    frames = filmstrip.decode(data, shape.size)
    if len(frames) != shape.frames:
        raise ValueError(f"{len(frames)} frames instead of {shape.frames}, resample.frames")
    if not 1 <= row.valid_frames <= shape.frames:
        raise ValueError(f"valid_frames is {row.valid_frames}: must be from 1 to {shape.frames}")
    return frames[: row.valid_frames]


def _describe(row: ShardRow, frames: NDArray[np.uint8], report: ShardReport) -> None:
    """Count the clip if it is black or frozen, neither of which is an error, and add its fingerprint."""
    report.black += int(frames.max() < _BLACK)
    report.frozen += int(len(frames) > 1 and bool((frames[1:] == frames[0]).all()))
    fingerprint = leaks.fingerprint(frames)
    if fingerprint is not None:
        report.fingerprints.setdefault(row.split, {})[row.clip_id] = fingerprint


def _agrees(row: ShardRow, suffix: str, data: bytes) -> bool:
    """Whether a `.cls` or `.json` member agrees with the clip's row; a member of another kind never does."""
    try:
        if suffix == "cls":
            return int(data) == row.class_id
        described = json.loads(data)
        found = (described["clip_id"], described["class_id"], described["split"])
        return suffix == "json" and found == (row.clip_id, row.class_id, row.split)
    except (ValueError, KeyError, TypeError):
        return False


def _check_manifests(rows: Sequence[ShardRow], clips: Iterable[CompositeRow], classes: Iterable[SplitRow]) -> list[str]:
    """Problems of shards.parquet, which must have each clip of the composite once, in the split of its class."""
    splits = {row.class_id: row.split for row in classes}
    expected = {row.clip_id for row in clips if row.status == "ok" and splits.get(row.class_id) in SPLITS}
    counts = Counter(row.clip_id for row in rows)
    problems = [f"{clip_id} is {count} times in shards.parquet" for clip_id, count in counts.items() if count > 1]
    problems += [f"{clip_id} is in no shard" for clip_id in sorted(expected - counts.keys())]
    problems += [f"{row.clip_id} is in the wrong split" for row in rows if splits.get(row.class_id) != row.split]
    return problems


def _metrics(
    rows: Sequence[ShardRow], clips: Iterable[CompositeRow], report: ShardReport, near_duplicates: int
) -> Mapping[str, object]:
    per_class = Counter(row.class_id for row in rows).values()
    by_split = {split: [row.class_id for row in rows if row.split == split] for split in SPLITS}
    shards = {Path(row.shard) for row in rows}
    return {
        "classes": len(per_class),
        "clips": len(rows),
        **{
            split: {"classes": len(set(class_ids)), "clips": len(class_ids)}
            for split, class_ids in by_split.items()
            if class_ids or split != "val"
        },
        "clips_by_source": dict(sorted(Counter(row.source for row in rows).items())),
        "clips_per_class": {
            "min": min(per_class, default=0),
            "median": statistics.median(per_class) if per_class else 0,
            "max": max(per_class, default=0),
        },
        "failed": manifests.count_failures(clips),
        "shards": len(shards),
        "bytes": sum(path.stat().st_size for path in shards if path.exists()),
        "black_clips": report.black,
        "frozen_clips": report.frozen,
        "near_duplicates_across_split": near_duplicates,
        "problems": len(report.problems),
    }
