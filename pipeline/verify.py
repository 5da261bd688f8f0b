"""verify: decode every sample of every shard, compare it with the manifests, and write metrics/dataset.json for DVC.

Every byte of a shard is checked: filmstrips by their digests, all others by what shard writes for the clips in the manifests.
"""

import contextlib
import dataclasses
import hashlib
import statistics
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.command import print_json
from common.errors import WorkError
from common.files import sweep, write_json
from common.paths import METRICS, SHARDS
from pipeline import params, runner, sources
from pipeline.composite import documents, leaks, samples
from pipeline.composite.dataset import Dataset, File
from pipeline.composite.excluded import EXCLUDED, read_excluded
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.rows import ROW_TYPES, SPLITS, CompositeRow, ShardRow, SplitRow
from pipeline.runner.ledger import file_digest
from pipeline.runner.speed import Speed
from pipeline.sample import digests
from pipeline.video import filmstrip

_TIMEOUT_S = 3600.0  # per shard
_MAX_PRINTED = 20  # problems
_IMAGES = ("jpg", "webp")
_SHARED = tuple(  # columns of shards.parquet that are those of clips.parquet
    sorted({f.name for f in dataclasses.fields(ShardRow)} & {f.name for f in dataclasses.fields(CompositeRow)})
)
_BLACK = 20  # grey levels; no pixel of a black clip is brighter


@dataclass(frozen=True)
class Shard:
    """A tar to check: its path, the rows of its clips in the order of their offsets, and their `.json` members."""

    path: str
    rows: tuple[ShardRow, ...]
    descriptions: tuple[bytes, ...]


@dataclass(frozen=True)
class FilmstripShape:
    """The number of frames of a filmstrip, and the width and height of a frame in pixels."""

    frames: int
    size: int


@dataclass
class ShardReport:
    """Problems of shards, one line each; their digests; numbers of black and frozen clips."""

    problems: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    black: int = 0
    frozen: int = 0

    def add(self, other: "ShardReport") -> None:
        """Add the content of another report to this one."""
        self.problems += other.problems
        self.digests |= other.digests
        self.black += other.black
        self.frozen += other.frozen


@dataclass(frozen=True)
class Checked:
    """What was found in the shards, and the metrics that were written."""

    clips: int
    shards: int
    problems: Sequence[str]
    similar: leaks.NearDuplicates
    metrics: Mapping[str, object]

    def raise_problems(self) -> None:
        """Raise a WorkError that lists the problems, if there are any."""
        if self.problems:
            listed = "\n  ".join(self.problems[:_MAX_PRINTED])
            raise WorkError(f"{len(self.problems)} problems in the shards; run `dvc repro -s -f shard`:\n  {listed}")


def main() -> None:
    """Read shards.parquet and `data/shards/`, write metrics/dataset.json.

    Raises:
        WorkError: a shard or a manifest is wrong; the message lists the problems.
    """
    settings = params.load()
    checked = check(settings)
    checked.raise_problems()
    print(f"verify: {checked.clips:,} clips in {checked.shards} shards are as in the manifests")
    print("verify: no clip, content or YouTube video is in two splits")
    similar = checked.similar
    if similar.count:
        named = ", ".join(f"{one} and {other}" for one, other in similar.examples[:3])
        print(f"verify: {similar.count:,} clips look almost the same as one in another split: {named}")
    if (comparison := digests.compare(settings)) is not None:
        print(f"verify: {comparison}")


def main_json() -> None:
    """As `main`; one JSON document has the metrics, all problems, and pairs of clips that look almost the same."""
    settings = params.load()
    with contextlib.redirect_stdout(sys.stderr):
        checked = check(settings)
    pairs = [list(pair) for pair in checked.similar.examples]
    print_json({"metrics": checked.metrics, "problems": checked.problems, "near_duplicates": pairs})
    checked.raise_problems()
    if (comparison := digests.compare(settings)) is not None:
        print(f"verify: {comparison}", file=sys.stderr)


def check(settings: params.PipelineParams) -> Checked:
    """Compare the shards with the manifests, and write metrics/dataset.json."""
    rows = manifests.read(ShardRow)
    clips = manifests.read(CompositeRow)
    splits = manifests.read(SplitRow)
    facts = sources.facts(settings.sources)
    youtube = {name for name, source in facts.items() if source.youtube_videos}
    shards = _by_shard(rows, {clip.clip_id: clip for clip in clips}, settings.resample.fps)

    report = ShardReport([damage for kind in ROW_TYPES if (damage := manifests.damage(kind)) is not None])
    report.problems += _check_manifests(rows, clips, splits)
    excluded = read_excluded()
    report.problems += [
        f"{row.clip_id} is in {EXCLUDED}, and still in a shard: run `dvc repro`"
        for row in rows
        if row.clip_id in excluded
    ]
    videos = {clip.clip_id: clip.video_id for clip in clips if clip.source in youtube}
    identities = [leaks.Identity(row.clip_id, row.split, row.sha256, videos.get(row.clip_id)) for row in rows]
    report.problems += leaks.find_leaks(identities)
    shape = FilmstripShape(settings.resample.frames, settings.resize.size)
    report.add(_check_all(shards, shape, settings.engine.workers))
    unknown = {path.as_posix() for path in SHARDS.glob("*.tar")} - {shard.path for shard in shards}
    report.problems += [f"{path}: not in shards.parquet" for path in sorted(unknown)]
    index = manifests.path_of(ShardRow).read_bytes()
    files = [File(name, (SHARDS / name).stat().st_size, sha256) for name, sha256 in sorted(report.digests.items())]
    report.problems += _check_documents(documents.render(Dataset(rows, clips, files, index, facts, settings)))
    duplicate_of = {clip.clip_id: clip.duplicate_of for clip in clips if clip.duplicate_of is not None}
    similar = leaks.near_duplicates(identities, duplicate_of)
    sweep(METRICS)
    metrics = _metrics(rows, clips, report, similar.count)
    write_json(METRICS / "dataset.json", metrics)
    return Checked(len(rows), len(shards), sorted(report.problems), similar, metrics)


def check_shard(shard: Shard, shape: FilmstripShape) -> ShardReport:
    """Compare the members of a tar with the rows of its clips."""
    expected = {row.clip_id: row for row in shard.rows}
    descriptions = dict(zip(expected, shard.descriptions, strict=False))
    found: list[tuple[str, str]] = []
    report = ShardReport()
    size, layout = 0, hashlib.sha256()
    try:
        with tarfile.open(shard.path, "r:") as tar:
            for member in tar:
                clip_id, _, suffix = member.name.rpartition(".")
                content = tar.extractfile(member)
                data = content.read() if content is not None else b""
                row = expected.get(clip_id)
                if row is None:
                    report.problems.append(f"{shard.path}: {member.name} is not in shards.parquet")
                elif suffix in _IMAGES:
                    try:
                        _describe(_decode(row, data, member.offset_data, shape), report)
                    except ValueError as error:
                        report.problems.append(f"{shard.path}: {clip_id}: {error}")
                elif {"json": descriptions[clip_id], "cls": samples.class_member(row.class_id)}.get(suffix) != data:
                    report.problems.append(f"{shard.path}: {member.name} contradicts the manifests")
                found.append((clip_id, "filmstrip" if suffix in _IMAGES else suffix))
                written = samples.tar_member(member.name, data)
                layout.update(written)
                size += len(written)
        layout.update(samples.tar_end(size))
        report.digests[Path(shard.path).name] = file_digest(Path(shard.path))
    except (OSError, ValueError, tarfile.TarError) as error:
        report.problems.append(f"{shard.path}: {error}")
    report.problems += _check_members(shard, found)
    if not report.problems and layout.hexdigest() not in report.digests.values():
        report.problems.append(f"{shard.path}: a header or the padding of the tar is damaged")
    return report


def _check_members(shard: Shard, found: Sequence[tuple[str, str]]) -> list[str]:
    """The problem of a tar that does not have three members of each clip, in order."""
    filmstrips = [clip_id for clip_id, kind in found if kind == "filmstrip"]
    expected = [row.clip_id for row in shard.rows]
    if filmstrips != expected:
        missing = [clip_id for clip_id in expected if clip_id not in set(filmstrips)]
        example = f"; {missing[0]} is missing" if missing else "; repeated, or in another order"
        return [f"{shard.path}: {len(filmstrips)} filmstrips, {len(expected)} in shards.parquet{example}"]
    members = [(clip_id, kind) for clip_id in expected for kind in ("filmstrip", "json", "cls")]
    there = set(found)
    absent = next((".".join(member) for member in members if member not in there), None)
    if absent is not None:
        return [f"{shard.path}: {absent} is missing"]
    return [] if list(found) == members else [f"{shard.path}: members are repeated, or in another order"]


def _by_shard(rows: Iterable[ShardRow], clips: Mapping[str, CompositeRow], fps: int) -> list[Shard]:
    by_path: dict[str, list[ShardRow]] = {}
    for row in sorted(rows, key=lambda row: (row.shard, row.offset)):
        by_path.setdefault(row.shard, []).append(row)

    def describe(row: ShardRow) -> bytes:
        clip = clips.get(row.clip_id)
        return b"" if clip is None else samples.description(clip, row.split, fps)

    return [Shard(path, tuple(inside), tuple(map(describe, inside))) for path, inside in by_path.items()]


def _check_all(shards: Sequence[Shard], shape: FilmstripShape, workers: int) -> ShardReport:
    """Check the shards on all cores."""
    report = ShardReport()
    tasks = [runner.Task(shard.path, shard, len(shard.rows)) for shard in shards]
    bar = tqdm(desc="verify", total=sum(len(shard.rows) for shard in shards), unit="clip", disable=None)
    answers = runner.run(runner.Job(check_shard, shape, _TIMEOUT_S), tasks, workers=workers)
    speed = Speed(workers=runner.used(workers, len(tasks)))
    with bar, closing(answers):
        for answer in answers:
            if isinstance(answer.result, ClipError):
                report.problems.append(f"{answer.task.name}: {answer.result.detail}")
            else:
                report.add(answer.result)
            bar.update(len(answer.task.row.rows))
            speed.add(len(answer.task.row.rows))
    print(speed.line("verify"))
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


def _describe(frames: NDArray[np.uint8], report: ShardReport) -> None:
    """Count the clip if it is black or frozen, neither of which is an error."""
    report.black += int(frames.max() < _BLACK)
    report.frozen += int(len(frames) > 1 and bool((frames[1:] == frames[0]).all()))


def _check_manifests(rows: Sequence[ShardRow], clips: Iterable[CompositeRow], classes: Sequence[SplitRow]) -> list[str]:
    """Problems of shards.parquet, which must have each clip of the composite once, in the split of its class."""
    splits = {row.class_id: row.split for row in classes}
    names = {row.class_id: row.class_name for row in classes}
    by_id = {clip.clip_id: clip for clip in clips}
    expected = {clip_id for clip_id, row in by_id.items() if row.status == "ok" and splits.get(row.class_id) in SPLITS}
    counts = Counter(row.clip_id for row in rows)
    problems = [f"{clip_id} is {count} times in shards.parquet" for clip_id, count in counts.items() if count > 1]
    problems += [f"{clip_id} is in no shard" for clip_id in sorted(expected - counts.keys())]
    problems += [f"{row.clip_id} is in the wrong split" for row in rows if splits.get(row.class_id) != row.split]
    for row in rows:
        clip = by_id.get(row.clip_id)
        different = (
            ["clip_id"] if clip is None else [name for name in _SHARED if getattr(row, name) != getattr(clip, name)]
        )
        if different:
            problems.append(f"{row.clip_id}: {', '.join(different)} in shards.parquet differs from clips.parquet")
        elif names.get(row.class_id) != row.class_name:
            problems.append(f"{row.clip_id}: class {row.class_id} has another name in splits.parquet")
    return problems


def _check_documents(expected: Mapping[str, bytes]) -> list[str]:
    """The problems of files beside the shards that are not the ones of these shards."""
    problems = []
    for name, content in expected.items():
        path = SHARDS / name
        try:
            if path.read_bytes() != content:
                problems.append(f"{path} is not the one of these shards")
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
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
