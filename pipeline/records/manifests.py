"""Reading and writing manifests: parquet files of typed rows, the same bytes for the same rows."""

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.errors import WorkError
from common.files import replacing, sweep
from common.paths import MANIFESTS
from pipeline.records.rows import ClipRow
from pipeline.records.schema import Record, list_fields, schema

R = TypeVar("R", bound=Record)
C = TypeVar("C", bound=ClipRow)


def path_of(kind: type[Record]) -> Path:
    """The file of the manifest whose rows are of type `kind`."""
    return MANIFESTS / f"{kind.MANIFEST}.parquet"


def exists(kind: type[Record]) -> bool:
    """Whether that manifest has been written."""
    return path_of(kind).exists()


def read(kind: type[R]) -> list[R]:
    """The rows of a manifest, in its order.

    Raises:
        WorkError: it is missing, is not parquet, or does not hold rows of this type.
    """
    return _rows(kind, _read_table(kind))


def find(kind: type[C], clip_id: str) -> C | None:
    """The row of one clip; None if the manifest has no such clip. Raises as `read`."""
    rows = _rows(kind, _read_table(kind).filter(pc.field("clip_id") == clip_id))
    return rows[0] if rows else None


def write(kind: type[R], rows: Iterable[R]) -> None:
    """Write a manifest atomically: sorted, typed by its schema, the same bytes for the same rows."""
    ordered = sorted(rows, key=attrgetter(kind.SORTED_BY))
    columns = [pa.array(map(attrgetter(field.name), ordered), field.type) for field in schema(kind)]
    sweep(MANIFESTS)
    with replacing(path_of(kind)) as temporary:
        # Parquet files hold no time or path; the row group size is given, because a new default would change the bytes.
        table = pa.table(columns, schema=schema(kind))
        pq.write_table(table, temporary, compression="zstd", row_group_size=65536)


def count_failures(rows: Iterable[ClipRow]) -> dict[str, int]:
    """How many clips failed, by code, most frequent first."""
    counts = Counter(row.error for row in rows if row.status == "failed" and row.error is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _read_table(kind: type[Record]) -> pa.Table:
    path, expected = path_of(kind), schema(kind)
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise WorkError(f"{path} is missing: run `dvc repro`, which writes it") from None
    except (pa.ArrowInvalid, pa.ArrowIOError) as error:
        raise WorkError(f"{path} cannot be read ({error}): delete it and run `dvc repro`") from None
    if table.schema.names != expected.names:
        odd = sorted(set(table.schema.names) ^ set(expected.names)) or ["their order"]
        raise WorkError(f"{path} has other columns than this version writes ({', '.join(odd)}): run `dvc repro -f`")
    return table


def _rows(kind: type[R], table: pa.Table) -> list[R]:
    tuples = list_fields(kind)
    found: list[R] = []
    values: dict[str, Any]
    for values in table.to_pylist():
        for name in tuples:
            if values[name] is not None:
                values[name] = tuple(values[name])
        try:
            found.append(kind(**values))
        except ValueError as error:
            raise WorkError(f"{path_of(kind)} is damaged ({error}): run `dvc repro -f`") from None
    return found
