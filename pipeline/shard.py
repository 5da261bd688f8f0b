"""shard: write the filmstrips to WebDataset tars, and the byte offset of each to shards.parquet.

Order, owner and times in the tars are fixed, so the same clips and params give the same bytes everywhere. The files beside
the tars are those of `pipeline.composite.documents`.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing, sweep, write_bytes
from common.paths import SHARDS
from pipeline import params, runner, sources
from pipeline.composite import documents
from pipeline.composite.dataset import Dataset, File
from pipeline.composite.samples import class_member, description
from pipeline.params import Shard as Settings
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.rows import SPLITS, CompositeRow, ShardRow, Split, SplitRow
from pipeline.runner.ledger import file_digest
from pipeline.runner.speed import Speed
from pipeline.runner.store import Store, read

_TIMEOUT_S = 3600.0  # per shard


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
class WriteSettings:
    """Settings of `write_shard`: the frame rate of the clips, and the URL of the work store, if there is one."""

    fps: int
    store: str | None


@dataclass(frozen=True)
class Place:
    """Offset and length of a filmstrip in its tar, in bytes."""

    offset: int
    length: int


@dataclass(frozen=True)
class Written:
    """A finished tar: the place of each clip's filmstrip, in the order of the clips, and the tar's digest."""

    places: tuple[Place, ...]
    sha256: str


def main() -> None:
    """Read clips.parquet and splits.parquet, write shards.parquet, `data/shards/` and the documents in it."""
    settings = params.load()
    splits = {row.class_id: row.split for row in manifests.read(SplitRow)}
    clips = manifests.read(CompositeRow)
    usable = [row for row in clips if row.status == "ok"]
    members = [Member(row, split) for row in usable if (split := splits[row.class_id]) != "unused"]
    shards = list(plan(members, settings.shard))
    SHARDS.mkdir(parents=True, exist_ok=True)
    sweep(SHARDS)
    speed = Speed(workers=runner.used(settings.engine.workers, len(shards)))
    written = _write_all(shards, settings)
    for stale in {path.as_posix() for path in SHARDS.glob("*.tar")} - written.keys():
        Path(stale).unlink()
    rows = [
        _shard_row(member, shard.path, place)
        for shard in shards
        for member, place in zip(shard.members, written[shard.path].places, strict=True)
    ]
    manifests.write(ShardRow, rows)
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


def plan(members: Iterable[Member], settings: Settings) -> Iterator[Shard]:
    """The shards: clips by split, shuffled by seed; a shard ends at `max_clips`, or before it exceeds `max_bytes`."""
    shuffled = sorted(members, key=lambda member: _shuffle_key(member.clip.clip_id, settings.seed))
    for split in SPLITS:
        content: list[Member] = []
        size = number = 0
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


def write_shard(shard: Shard, settings: WriteSettings) -> Written:
    """Write one tar atomically; filmstrips are read from disk, or else from the work store.

    Raises:
        WorkError: a filmstrip is missing or differs from the one that resize wrote.
    """
    from webdataset import TarWriter  # imports torch where it is installed: two seconds that only this function needs

    with replacing(Path(shard.path)) as temporary:
        with (
            temporary.open("wb") as file,
            TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False) as writer,
        ):
            for member in shard.members:
                clip = member.clip
                # One member at a time, because a call sorts its members by suffix: the filmstrip comes first.
                writer.write({"__key__": clip.clip_id, _image_suffix(clip): _read_filmstrip(clip, settings.store)})
                writer.write({"__key__": clip.clip_id, "json": description(clip, member.split, settings.fps)})
                writer.write({"__key__": clip.clip_id, "cls": class_member(clip.class_id)})
        with tarfile.open(temporary, "r:") as tar:
            places = {member.name: Place(member.offset_data, member.size) for member in tar}
        names = [f"{member.clip.clip_id}.{_image_suffix(member.clip)}" for member in shard.members]
        return Written(tuple(places[name] for name in names), file_digest(temporary))


def _write_all(shards: Sequence[Shard], settings: params.PipelineParams) -> Mapping[str, Written]:
    """Write the shards on all cores; the results by path."""
    job = runner.Job(write_shard, WriteSettings(settings.resample.fps, settings.engine.store), _TIMEOUT_S)
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


def _copy(url: str, files: Sequence[Path]) -> None:
    """Upload the files and shards.parquet to `url` under the same names; unchanged files are not sent again."""
    store = Store(url)
    try:
        for path in tqdm([*files, manifests.path_of(ShardRow)], desc="copy", disable=None):
            store.push(path)
    except (OSError, ValueError, ImportError) as error:
        raise WorkError(f"shard.copy_to: {url} cannot be written: {error}") from None


def _path(split: Split, number: int) -> str:
    return (SHARDS / f"{split}-{number:06d}.tar").as_posix()


def _shuffle_key(clip_id: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{clip_id}".encode(), digest_size=16).digest()


def _image_suffix(clip: CompositeRow) -> str:
    return Path(clip.path).suffix.removeprefix(".")


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
