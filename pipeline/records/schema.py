"""Dataclass fields as parquet columns: `column` and `result` document a field, `schema` derives the Arrow schema."""

import dataclasses
import types
from typing import Any, ClassVar, Literal, Protocol, Union, get_args, get_origin, get_type_hints

import pyarrow as pa


class Record(Protocol):
    """A frozen dataclass that is one row of a manifest."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    MANIFEST: ClassVar[str]  # file name without its suffix
    SORTED_BY: ClassVar[str]


_MISSING: Any = dataclasses.MISSING
_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def column(doc: str, default: Any = _MISSING) -> Any:
    """A field that every row has; `doc` is its meaning and unit in the data dictionary."""
    return dataclasses.field(default=default, metadata={"doc": doc})


def result(doc: str) -> Any:
    """A field that every row with status `ok` has; null in rows where the stage produced nothing."""
    return dataclasses.field(default=None, metadata={"doc": doc, "result": True})


def missing_results(row: Record) -> list[str]:
    """Names of the fields declared by `result` that are None in `row`."""
    fields = row.__dataclass_fields__.values()
    return [field.name for field in fields if "result" in field.metadata and getattr(row, field.name) is None]


def list_fields(kind: type[Any]) -> tuple[str, ...]:
    """Names of the fields of a dataclass that hold tuples (lists in parquet and JSON)."""
    hints = get_type_hints(kind)
    return tuple(field.name for field in dataclasses.fields(kind) if get_origin(_required(hints[field.name])) is tuple)


def schema(kind: type[Any]) -> pa.Schema:
    """The Arrow schema of the row type `kind`: one column per field, in the order of the fields, with its meaning as metadata."""
    hints = get_type_hints(kind)
    return pa.schema(
        [
            pa.field(field.name, _arrow_type(hints[field.name]), metadata={"doc": field.metadata["doc"]})
            for field in dataclasses.fields(kind)
        ]
    )


def _required(hint: Any) -> Any:
    """`T` of `T | None`."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (member for member in get_args(hint) if member is not type(None))
    return hint


def _arrow_type(hint: Any) -> pa.DataType:
    hint = _required(hint)
    if get_origin(hint) is tuple:
        return pa.list_(_ARROW_TYPES[get_args(hint)[0]])
    if get_origin(hint) is Literal:
        return pa.string()
    return _ARROW_TYPES[hint]
