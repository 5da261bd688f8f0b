"""The ledger: one line per finished clip and stage, written the moment it is finished.

A line is keyed by everything that shaped the result. After kill -9, changed params, a changed source file or a deleted
output, a rerun redoes exactly the clips whose key no longer matches.
"""

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from common.errors import WorkError
from common.paths import LEDGERS
from pipeline.records.failures import TRANSIENT, ClipError
from pipeline.records.schema import list_fields

Result = TypeVar("Result")

_FORMAT = 2  # of the table; a ledger of another format is emptied
_COLUMNS = "clip_id, key, error, error_detail, attempts, seconds, result"


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """The outcome of one stage for one clip: a result, or a failure."""

    key: str
    result: Result | None = None
    error: str | None = None
    error_detail: str | None = None
    attempts: int = 1
    seconds: float = 0.0  # wall time of the work function

    @classmethod
    def failed(cls, key: str, error: ClipError, *, attempts: int = 1, seconds: float = 0.0) -> "Outcome[Result]":
        """The outcome of a clip that raised `error`."""
        return cls(key, None, error.code.value, error.detail, attempts, seconds)


def digest(*parts: Any) -> str:
    """A short content key of JSON-like values; equal values give equal keys on every machine."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def file_digest(path: Path) -> str:
    """sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Ledger(Generic[Result]):
    """The finished clips of one stage, in `data/ledgers/<stage>.sqlite`. Use as a context manager.

    Args:
        kind: dataclass of the results.
    """

    def __init__(self, stage: str, kind: type[Result]) -> None:
        self._path, self._kind = LEDGERS / f"{stage}.sqlite", kind
        self._lists = list_fields(kind)

    def __enter__(self) -> "Ledger[Result]":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            # With WAL and NORMAL, kill -9 loses no committed line; a power cut may lose the last few.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            if self._db.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
                self._db.execute("DROP TABLE IF EXISTS clips")
                self._db.execute(f"PRAGMA user_version={_FORMAT}")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS clips (clip_id TEXT PRIMARY KEY, key TEXT NOT NULL, error TEXT, "
                "error_detail TEXT, attempts INTEGER NOT NULL, seconds REAL NOT NULL, result TEXT)"
            )
        except sqlite3.DatabaseError as error:
            raise WorkError(f"{self._path} is damaged ({error}): delete it; its clips will be redone") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __setitem__(self, clip_id: str, outcome: Outcome[Result]) -> None:
        made = None if outcome.result is None else json.dumps(_plain(outcome.result))
        row = (clip_id, outcome.key, outcome.error, outcome.error_detail, outcome.attempts, outcome.seconds, made)
        try:
            self._db.execute(f"INSERT OR REPLACE INTO clips ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            raise WorkError(f"{self._path}: {error}; free some space and run the same command to continue") from None

    def load(self) -> dict[str, Outcome[Result]]:
        """Every line, by clip_id; lines whose result has other fields than `kind` are left out, and so redone."""
        found = {}
        for clip_id, key, error, detail, attempts, seconds, text in self._db.execute(f"SELECT {_COLUMNS} FROM clips"):
            try:
                made = None if text is None else self._parse(json.loads(text))
            except (ValueError, TypeError, KeyError):
                continue
            found[clip_id] = Outcome(key, made, error, detail, attempts, seconds)
        return found

    def forget_transient(self) -> int:
        """Mark transient failures as not done, keeping their attempts; returns how many."""
        marks = ", ".join("?" for _ in TRANSIENT)
        query = f"UPDATE clips SET key = '' WHERE key != '' AND error IN ({marks})"
        return self._db.execute(query, sorted(TRANSIENT)).rowcount

    def _parse(self, values: dict[str, Any]) -> Result:
        lists = {name: tuple(values[name]) for name in self._lists if values[name] is not None}
        return self._kind(**values | lists)


def _plain(result: Any) -> Mapping[str, Any]:
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
