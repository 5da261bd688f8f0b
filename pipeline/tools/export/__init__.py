"""export: write the clips of the shards as parquet, Lance, NumPy, mp4 or a FiftyOne dataset, and read them again to compare."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Never

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from common.errors import ParamError, WorkError
from common.files import replacing, sweep, write_json
from pipeline import params, runner
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.rows import ShardRow
from pipeline.tools.export import arrays, fiftyone, lance, state, tables, videos
from pipeline.tools.export.clips import Part, Shape, columns, parts

Format = Literal["parquet", "lance", "numpy", "mp4", "fiftyone"]
_TIMEOUT_S = 7200.0  # per shard


@dataclass(frozen=True)
class Writer:
    """How one shard's clips are written and compared; what exists is not written again."""

    write: Callable[[Part, Path, Shape], None]
    compare: Callable[[Part, Path, Shape], None]
    file_of: Callable[[Part, ShardRow], str] | None = None  # in index.parquet; None: the format has the rows itself


WRITERS = {
    "parquet": Writer(tables.write_parquet, tables.compare_parquet),
    "numpy": Writer(arrays.write, arrays.compare, lambda part, _: f"{part.name}.npy"),
    "mp4": Writer(
        videos.write_below_split, videos.compare_below_split, lambda _, row: f"{row.split}/{row.clip_id}.mp4"
    ),
    "fiftyone": Writer(fiftyone.write, fiftyone.compare, lambda _, row: f"data/{row.clip_id}.mp4"),
}


@dataclass(frozen=True)
class Job:
    """The settings of `export_part`."""

    format: str
    folder: str
    shape: Shape


def main(format: Format, out: Path, split: str | None = None, size: int | None = None) -> None:
    """Export the clips to the folder `out`; an interrupted export continues, a finished one is compared again.

    Args:
        split: train, val or test; None: all.
        size: width and height of a frame in pixels, at most those in the shards; None: as in the shards.

    Raises:
        ParamError: frames of this size would have to be enlarged, or the split has no clips.
        WorkError: a shard is damaged, `out` holds something else, or what was written differs from the shards.
    """
    settings = params.load()
    resample, resize = settings.resample, settings.resize
    if size is not None and size > resize.size:
        raise ParamError(
            f"--size {size}: the shards have frames of {resize.size}x{resize.size}, and an export invents no detail: "
            f"set resize.size: {size} and run `dvc repro`"
        )
    shape = Shape(resample.frames, resize.size, size or resize.size, resample.fps, resize.format, resize.quality)
    found = parts(manifests.read(ShardRow), split)
    if not found:
        raise ParamError(f"--split {split}: no clip is in this split")
    index = sha256(manifests.path_of(ShardRow).read_bytes()).hexdigest()
    about = {"format": format, "split": split, **asdict(shape), "shards_sha256": index}
    state.claim(out, about)
    sweep(out)
    clips = sum(len(part.rows) for part in found)
    if format == "lance":
        _export_lance(found, out, shape)
    else:
        _export(found, Job(format, str(out), shape), settings.engine.workers)
        _write_index(found, out, WRITERS[format])
    if format == "fiftyone":
        fiftyone.write_labels(found, out)
    write_json(out / state.FILE, {**about, "clips": clips, "complete": True})
    print(f"export: {clips:,} clips as {format} in {out}, read again and equal to the shards{_tolerance(format)}")


def export_part(part: Part, job: Job) -> int:
    """Write and compare one part; the number of its clips."""
    writer, folder = WRITERS[job.format], Path(job.folder)
    writer.write(part, folder, job.shape)
    writer.compare(part, folder, job.shape)
    return len(part.rows)


def _export(found: Sequence[Part], job: Job, workers: int) -> None:
    """Export the parts on all cores."""
    tasks = [runner.Task(part.name, part, len(part.rows)) for part in found]
    answers = runner.run(runner.Job(export_part, job, _TIMEOUT_S), tasks, workers=workers)
    with _bar(found) as bar, closing(answers):
        for answer in answers:
            if isinstance(answer.result, ClipError):
                raise WorkError(f"{answer.task.name}: {answer.result.detail}: run the same command again")
            bar.update(answer.result)


def _export_lance(found: Sequence[Part], out: Path, shape: Shape) -> None:
    """Append the parts one after the other: a Lance dataset has one writer."""
    with _bar(found) as bar:
        for number, part in enumerate(found):
            lance.write(found, number, out, shape)
            bar.update(len(part.rows))
    lance.compare_all(found, out, shape)


def _bar(found: Sequence[Part]) -> "tqdm[Never]":
    return tqdm(desc="export", total=sum(len(part.rows) for part in found), unit="clip", disable=None)


def _write_index(found: Sequence[Part], out: Path, writer: Writer) -> None:
    """index.parquet: a row a clip, with its file and its position in that."""
    if writer.file_of is None:
        return
    rows = [row for part in found for row in part.rows]
    table = columns(rows)
    table["file"] = pa.array([writer.file_of(part, row) for part in found for row in part.rows])
    table["position"] = pa.array([number for part in found for number in range(len(part.rows))], pa.int64())
    with replacing(out / "index.parquet") as temporary:
        pq.write_table(pa.table(table), temporary, compression="zstd")


def _tolerance(format: Format) -> str:
    if format not in ("mp4", "fiftyone"):
        return ""
    return f" within {videos.TOLERANCE:g} grey levels on average (H.264, 4:2:0)"
