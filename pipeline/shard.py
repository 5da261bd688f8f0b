"""shard: write the filmstrips to WebDataset tars, and the byte offset of each to shards.parquet.

Order, owner and times in the tars are fixed, so the same clips and params give the same bytes everywhere; with
`split.freeze`, the tars that there are belong to what is given. The files beside the tars are those of
`pipeline.composite.documents`.
"""

import hashlib
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing, sweep, write_bytes
from common.paths import SHARDS
from pipeline import params, runner, sources
from pipeline.composite import documents, tars
from pipeline.composite.dataset import Dataset, File
from pipeline.composite.layout import Member, Placed, Shard, extend, plan
from pipeline.composite.samples import class_member, description
from pipeline.composite.tars import Place, Written
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.rows import CompositeRow, ShardRow, SplitRow
from pipeline.runner.speed import Speed
from pipeline.runner.store import Store, read

_TIMEOUT_S = 3600.0  # per shard
_STAGED = SHARDS / ".new-unfinished"  # tars that are to replace others, until all are complete


@dataclass(frozen=True)
class WriteSettings:
    """Settings of `write_shard` and `keep_shard`: the frame rate of the clips, and the URL of the work store, if there is one."""

    fps: int
    store: str | None


def main() -> None:
    """Read clips.parquet and splits.parquet, write shards.parquet, `data/shards/` and the documents in it."""
    settings = params.load()
    splits = {row.class_id: row.split for row in manifests.read(SplitRow)}
    clips = manifests.read(CompositeRow)
    usable = [row for row in clips if row.status == "ok"]
    members = [Member(row, split) for row in usable if (split := splits[row.class_id]) != "unused"]
    placed = manifests.read_part(ShardRow, Placed) if settings.split.freeze and manifests.exists(ShardRow) else None
    shards = list(plan(members, settings.shard) if placed is None else extend(placed, members, settings.shard))
    SHARDS.mkdir(parents=True, exist_ok=True)
    sweep(SHARDS)
    speed = Speed(workers=runner.used(settings.engine.workers, len(shards)))
    written = _write_all(shards, settings, write_shard if placed is None else keep_shard)
    if placed is not None:
        _print_kept(written, {place.shard for place in placed})
    _move_staged(written)
    rows = [
        _shard_row(member, shard.path, place)
        for shard in shards
        for member, place in zip(shard.members, written[shard.path].places, strict=True)
    ]
    manifests.write(ShardRow, rows)
    for stale in {path.as_posix() for path in SHARDS.glob("*.tar")} - written.keys():
        Path(stale).unlink()
    files = [File(Path(path).name, Path(path).stat().st_size, made.sha256) for path, made in sorted(written.items())]
    index = manifests.path_of(ShardRow).read_bytes()
    described = documents.render(Dataset(rows, clips, files, index, sources.facts(settings.sources), settings))
    for name, content in described.items():
        write_bytes(SHARDS / name, content)
    if settings.shard.copy_to is not None:
        _copy(settings.shard.copy_to, [*(Path(shard.path) for shard in shards), *(SHARDS / name for name in described)])
    print(f"shard: {len(rows):,} clips in {len(shards)} shards, {sum(file.size for file in files) / 1e6:,.0f} MB")
    speed.add(len(rows))
    print(speed.line("shard"))


def write_shard(shard: Shard, settings: WriteSettings) -> Written:
    """Write one tar atomically. Raises as `keep_shard`."""
    return _write(shard, Path(shard.path), settings)


def keep_shard(shard: Shard, settings: WriteSettings) -> Written:
    """Leave a tar that is right as it is; another one is written beside it, for `main` to replace it when all are complete.

    Filmstrips are read from disk, or else from the work store.

    Raises:
        WorkError: a filmstrip is missing or differs from the one that resize wrote.
    """
    staged = _STAGED / Path(shard.path).name
    for path in (Path(shard.path), staged):
        if (found := tars.describe_equal(path, shard.members, settings.fps)) is not None:
            return found
    return _write(shard, staged, settings)


def _write(shard: Shard, path: Path, settings: WriteSettings) -> Written:
    from webdataset import TarWriter  # imports torch where it is installed: two seconds that only this function needs

    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False) as writer,
    ):
        for member in shard.members:
            clip = member.clip
            # One member at a time, because a call sorts its members by suffix: the filmstrip comes first.
            suffix = Path(clip.path).suffix.removeprefix(".")
            writer.write({"__key__": clip.clip_id, suffix: _read_filmstrip(clip, settings.store)})
            writer.write({"__key__": clip.clip_id, "json": description(clip, member.split, settings.fps)})
            writer.write({"__key__": clip.clip_id, "cls": class_member(clip.class_id)})
    return tars.describe(path, shard.members)


def _write_all(
    shards: Sequence[Shard], settings: params.PipelineParams, work: Callable[[Shard, WriteSettings], Written]
) -> Mapping[str, Written]:
    """Write the shards on all cores; the results by path."""
    job = runner.Job(work, WriteSettings(settings.resample.fps, settings.engine.store), _TIMEOUT_S)
    tasks = [runner.Task(shard.path, shard, len(shard.members)) for shard in shards]
    written: dict[str, Written] = {}
    bar = tqdm(desc="shard", total=sum(len(shard.members) for shard in shards), unit="clip", disable=None)
    with bar, closing(runner.run(job, tasks, workers=settings.engine.workers)) as answers:
        for answer in answers:
            if isinstance(answer.result, ClipError):
                raise WorkError(f"{answer.task.name}: {answer.result.detail}: run the same command again")
            written[answer.task.name] = answer.result
            bar.update(len(answer.task.row.members))
    return written


def _move_staged(written: Mapping[str, Written]) -> None:
    """Replace shards by those that were written beside them."""
    for path, made in written.items():
        if made.path != path:
            with replacing(Path(path)) as temporary:
                Path(made.path).rename(temporary)
    shutil.rmtree(_STAGED, ignore_errors=True)


def _print_kept(written: Mapping[str, Written], earlier: Collection[str]) -> None:
    kept = sum(made.path == path for path, made in written.items())
    new = len(written.keys() - earlier)
    print(f"shard: {kept:,} shards are kept, {len(written) - kept - new:,} are rewritten, {new:,} are new")


def _copy(url: str, files: Sequence[Path]) -> None:
    """Upload the files and shards.parquet to `url` under the same names; unchanged files are not sent again."""
    store = Store(url)
    try:
        for path in tqdm([*files, manifests.path_of(ShardRow)], desc="copy", disable=None):
            store.push(path)
    except (OSError, ValueError, ImportError) as error:
        raise WorkError(f"shard.copy_to: {url} cannot be written: {error}") from None


def _read_filmstrip(clip: CompositeRow, store: str | None) -> bytes:
    path = Path(clip.path)
    remedy = "run `dvc repro -s -f resize`, then `dvc repro`"
    try:
        data = read(path, store)
    except FileNotFoundError:
        raise WorkError(f"{path} of clip {clip.clip_id} is missing: {remedy}") from None
    if hashlib.sha256(data).hexdigest() != clip.sha256:
        raise WorkError(f"{path} of clip {clip.clip_id} has changed since resize wrote it: delete it, {remedy}")
    return data


def _shard_row(member: Member, path: str, place: Place) -> ShardRow:
    clip = member.clip
    return ShardRow(
        clip_id=clip.clip_id,
        source=clip.source,
        status=clip.status,
        error=clip.error,
        error_detail=clip.error_detail,
        attempts=clip.attempts,
        key=clip.key,
        class_id=clip.class_id,
        class_name=clip.class_name,
        split=member.split,
        official_split=clip.official_split,
        tinyvirat_labels=clip.tinyvirat_labels,
        valid_frames=clip.valid_frames,
        sha256=clip.sha256,
        shard=path,
        offset=place.offset,
        length=place.length,
    )
