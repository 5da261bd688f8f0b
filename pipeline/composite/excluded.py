"""Clips that a person has excluded from the composite: manifests/excluded.csv, with a reason for each."""

import csv
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import WorkError
from common.paths import MANIFESTS
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import ResizeRow

EXCLUDED = MANIFESTS / "excluded.csv"
_FIELDS = ["clip_id", "reason"]
_MAX_BYTES = 64 << 20
_CLIP_ID = re.compile(r"[A-Za-z0-9_-]{1,250}")


@dataclass(frozen=True)
class Exclusion:
    """A line of the list: its number, and why the clip is excluded."""

    line: int
    reason: str


def read_excluded(path: Path = EXCLUDED) -> dict[str, Exclusion]:
    """The excluded clips by clip_id; empty if there is no such file.

    Raises:
        WorkError: the file is not a CSV with the columns `clip_id,reason`, or a line lacks either or repeats a clip.
    """
    excluded: dict[str, Exclusion] = {}
    line = 0
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise WorkError(f"{path} is larger than {_MAX_BYTES >> 20} MB: not a list of clips")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                before, line = line, reader.line_num
                if before == 0:
                    if row != _FIELDS:
                        raise WorkError(f"{path}: its first line must be {','.join(_FIELDS)}")
                elif row:
                    clip_id = _read_row(row, f"{path}, line {before + 1}")
                    if clip_id in excluded:
                        first = excluded[clip_id].line
                        raise WorkError(f"{path}, line {before + 1}: {clip_id} is excluded by line {first} already")
                    excluded[clip_id] = Exclusion(before + 1, row[1])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WorkError(f"{path} cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise WorkError(f"{path}, line {line + 1}: not CSV in UTF-8: {error}") from None
    if line == 0:
        raise WorkError(f"{path}: its first line must be {','.join(_FIELDS)}")
    return excluded


def exclude(rows: Iterable[ResizeRow], excluded: Mapping[str, Exclusion]) -> list[ResizeRow]:
    """The rows; excluded clips that have not failed before have failed for their reason, and have no filmstrip."""
    return [
        ResizeRow.failed(row, ClipError(Failure.EXCLUDED, excluded[row.clip_id].reason), key=row.key)
        if row.clip_id in excluded and row.status != "failed"
        else row
        for row in rows
    ]


def unknown(excluded: Mapping[str, Exclusion], clip_ids: Collection[str]) -> str | None:
    """A warning that names the first excluded clip that is not among all clips; None if each is: a typo excludes nothing."""
    names = [clip_id for clip_id in excluded if clip_id not in clip_ids]
    if not names:
        return None
    others = f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""
    return f"warning: {EXCLUDED}, line {excluded[names[0]].line}: no source has a clip {names[0]}{others}"


def stand_ins(
    rows: Sequence[ResizeRow], excluded: Mapping[str, Exclusion], kept: Iterable[str]
) -> list[tuple[str, str]]:
    """Clips of the composite with the pictures of an excluded clip, each with that clip.

    Args:
        rows: as resize wrote them.
        kept: ids of the clips of the composite.
    """
    pictures = {row.sha256: row.clip_id for row in rows if row.clip_id in excluded and row.sha256 is not None}
    inside = set(kept)
    return [(row.clip_id, pictures[row.sha256]) for row in rows if row.clip_id in inside and row.sha256 in pictures]


def _read_row(row: Sequence[str], where: str) -> str:
    """The clip_id of a row."""
    if len(row) != len(_FIELDS) or not _CLIP_ID.fullmatch(row[0]) or not row[1].strip():
        raise WorkError(f"{where}: must be a clip_id and a reason, in quotes if it has commas")
    return row[0]
