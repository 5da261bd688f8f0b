"""Reading and writing manifests: parquet files of typed rows, the same bytes for the same rows."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common import written
from common.errors import WorkError
from common.files import sweep, write_bytes
from common.paths import MANIFESTS
from pipeline.records.rows import ClipRow
from pipeline.records.schema import Record, list_fields, schema

R = TypeVar("R", bound=Record)
C = TypeVar("C", bound=ClipRow)
P = TypeVar("P")
_RENEW = "run `dvc repro -f`"


def path_of(kind: type[Record]) -> Path:
    """The file of the manifest whose rows are of type `kind`."""
    return MANIFESTS / f"{kind.MANIFEST}.parquet"


def exists(kind: type[Record]) -> bool:
    """Whether that manifest has been written."""
    return path_of(kind).exists()


def read(kind: type[R]) -> list[R]:
    """The rows of a manifest, in its order.

    Raises:
        WorkError: it is missing, has changed since it was written, is not parquet, or does not hold rows of this type.
    """
    return _rows(kind, _read_table(kind), kind)


def read_part(kind: type[Record], part: type[P]) -> list[P]:
    """The columns of a manifest that the dataclass `part` has as fields, as rows of it.

    Other columns do not matter, so that a manifest of another version of this code can be read.

    Raises:
        WorkError: as `read`, or a column is missing or of another type.
    """
    table, names = _open(kind), [field.name for field in dataclasses.fields(part)]  # type: ignore[arg-type]
    expected = schema(kind)
    odd = [n for n in names if n not in table.schema.names or table.schema.field(n).type != expected.field(n).type]
    if odd:
        raise WorkError(f"{path_of(kind)} has no column {', '.join(odd)} as this version writes it: {_RENEW}")
    return _rows(kind, table.select(names), part)


def damage(kind: type[Record]) -> str | None:
    """Why the manifest cannot be used; None if it can, or does not exist."""
    try:
        if exists(kind):
            _read_table(kind)
    except WorkError as error:
        return str(error)
    return None


def find(kind: type[C], clip_id: str) -> C | None:
    """The row of one clip; None if the manifest has no such clip. Raises as `read`."""
    rows = _rows(kind, _read_table(kind).filter(pc.field("clip_id") == clip_id), kind)
    return rows[0] if rows else None


def write(kind: type[R], rows: Iterable[R]) -> None:
    """Write a manifest atomically: sorted, typed by its schema, the same bytes for the same rows."""
    ordered = sorted(rows, key=attrgetter(kind.SORTED_BY))
    columns = [pa.array(map(attrgetter(field.name), ordered), field.type) for field in schema(kind)]
    file = pa.BufferOutputStream()
    # Parquet files hold no time or path; the row group size is given, because a new default would change the bytes.
    pq.write_table(pa.table(columns, schema=schema(kind)), file, compression="zstd", row_group_size=65536)
    content = file.getvalue().to_pybytes()
    sweep(MANIFESTS)
    _check_not_a_folder(path_of(kind))
    written.record(path_of(kind), content)
    write_bytes(path_of(kind), content)


def count_failures(rows: Iterable[ClipRow]) -> dict[str, int]:
    """How many clips failed, by code, most frequent first."""
    counts = Counter(row.error for row in rows if row.status == "failed" and row.error is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _read_table(kind: type[Record]) -> pa.Table:
    path, expected, table = path_of(kind), schema(kind), _open(kind)
    if table.schema.names != expected.names:
        odd = sorted(set(table.schema.names) ^ set(expected.names)) or ["their order"]
        raise WorkError(f"{path} has other columns than this version writes ({', '.join(odd)}): {_RENEW}")
    if table.schema.types != expected.types:
        raise WorkError(f"{path} has columns of other types than this version writes: {_RENEW}")
    return table


def _open(kind: type[Record]) -> pa.Table:
    path = path_of(kind)
    _check_not_a_folder(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise WorkError(f"{path} is missing: run `dvc repro`, which writes it") from None
    if written.has_changed(path, content):
        raise WorkError(f"{path} has changed since it was written: delete it and run `dvc repro`")
    try:
        # `pq.read_table` of a buffer leaves a thread that may abort the process at its end.
        return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise WorkError(
            f"{path} cannot be read ({' '.join(str(error).split())}): delete it and run `dvc repro`"
        ) from None


def _check_not_a_folder(path: Path) -> None:
    if path.is_dir():
        raise WorkError(f"{path} is a folder: delete it and run `dvc repro`")


def _rows(kind: type[Record], table: pa.Table, row: type[P]) -> list[P]:
    tuples = list_fields(row)
    found: list[P] = []
    values: dict[str, Any]
    try:
        for values in table.to_pylist():
            for name in tuples:
                if values[name] is not None:
                    values[name] = tuple(values[name])
            found.append(row(**values))
    except (ValueError, pa.ArrowException) as error:
        raise WorkError(f"{path_of(kind)} is damaged ({error}): delete it and run `dvc repro`") from None
    return found
