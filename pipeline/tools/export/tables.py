"""Rows of clips with their filmstrips as Arrow batches, for the formats that are tables: parquet and Lance."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import WorkError
from common.files import replacing
from pipeline.tools.export.clips import COLUMNS, Part, Shape, columns, differing, filmstrips, image

BATCH = 64  # clips, some 20 MB
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as Hugging Face datasets has images
SCHEMA = pa.schema(
    [*COLUMNS, pa.field("filmstrip", _IMAGE)],
    metadata={"huggingface": json.dumps({"info": {"features": {"filmstrip": {"_type": "Image"}}}})},
)


def batches(part: Part, shape: Shape) -> Iterator[pa.RecordBatch]:
    """The part's clips, `BATCH` at a time."""
    clips = filmstrips(part)
    while chunk := list(islice(clips, BATCH)):
        images = [{"bytes": image(row, data, shape), "path": f"{row.clip_id}.{shape.image}"} for row, data in chunk]
        arrays = [*columns(row for row, _ in chunk).values(), pa.array(images, _IMAGE)]
        yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def compare(part: Part, shape: Shape, read: Iterator[dict[str, Any]], where: str) -> None:
    """Compare rows that were read again, in order, with the shard.

    Raises:
        WorkError: a row is missing, or differs.
    """
    for row, data in filmstrips(part):
        found = next(read, None)
        if found is None:
            raise WorkError(f"{where}: {row.clip_id} is missing: delete it and run the same command again")
        wrong = differing(row, found)
        if wrong is None and found["filmstrip"]["bytes"] != image(row, data, shape):
            wrong = "filmstrip"
        if wrong is not None:
            raise WorkError(f"{where}: {wrong} of {row.clip_id} differs: delete it and run the same command again")


def write_parquet(part: Part, folder: Path, shape: Shape) -> None:
    """Write `data/<shard>.parquet`, unless it is there."""
    path = _parquet(part, folder)
    if path.exists():
        return
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="none") as writer:
        for batch in batches(part, shape):
            writer.write_batch(batch)


def compare_parquet(part: Part, folder: Path, shape: Shape) -> None:
    """Read the file again and compare it, images byte by byte."""
    path = _parquet(part, folder)
    try:
        with pq.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(BATCH, use_threads=False) for row in batch.to_pylist())
            compare(part, shape, rows, str(path))
            if next(rows, None) is not None:
                raise WorkError(f"{path} has more clips than the shard: delete it and run the same command again")
    except (pa.ArrowException, KeyError) as error:
        raise WorkError(f"{path} cannot be read: {error}: delete it and run the same command again") from None


def _parquet(part: Part, folder: Path) -> Path:
    return folder / "data" / f"{part.name}.parquet"
