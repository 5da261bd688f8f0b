"""Lance: one dataset `clips.lance`, to which each shard's clips are appended as a version of their own."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from common.errors import WorkError
from pipeline.tools.export.clips import Part, Shape
from pipeline.tools.export.tables import BATCH, SCHEMA, batches, compare


def write(parts: Sequence[Part], number: int, folder: Path, shape: Shape) -> None:
    """Append part `number`, unless it is there: after an interruption, the dataset ends with a whole part.

    Raises:
        WorkError: pylance is not installed, or the dataset does not end with one of these parts.
    """
    lance, path = _import(), _path(folder)
    there = lance.dataset(path).count_rows() if Path(path).exists() else 0
    ends = [0, *accumulate(len(part.rows) for part in parts)]
    if there not in ends:
        raise WorkError(f"{path} has {there:,} clips, which is no number of whole shards: delete it and run again")
    if there == ends[number]:
        reader = pa.RecordBatchReader.from_batches(SCHEMA, batches(parts[number], shape))
        lance.write_dataset(reader, path, schema=SCHEMA, mode="append" if there else "create")


def compare_all(parts: Sequence[Part], folder: Path, shape: Shape) -> None:
    """Read the dataset again and compare it, images byte by byte."""
    path = _path(folder)
    stored = _import().dataset(path)
    rows = (row for batch in stored.to_batches(batch_size=BATCH) for row in batch.to_pylist())
    for part in parts:
        compare(part, shape, rows, path)
    if next(rows, None) is not None:
        raise WorkError(f"{path} has more clips than the shards: delete it and run the same command again")


def _path(folder: Path) -> str:
    return str(folder / "clips.lance")


def _import() -> Any:
    try:
        import lance
    except ModuleNotFoundError:
        raise WorkError("--format lance needs pylance: `pip install pylance`, or the extra `export`") from None
    return lance
