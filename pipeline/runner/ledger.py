"""The ledger: one line per finished clip and stage, written the moment it is finished.

A line is keyed by everything that shaped the result (`key`). A rerun after kill -9, changed params, a changed source
file or a deleted output redoes exactly the clips whose line is no longer true.
"""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import WorkError
from common.paths import LEDGERS
from pipeline.records.failures import TRANSIENT, ClipError


@dataclass(frozen=True)
class Outcome:
    """What became of one clip in one stage: its manifest values, or its failure."""

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    error_detail: str | None = None
    attempts: int = 1

    @classmethod
    def failed(cls, key: str, error: ClipError, attempts: int = 1) -> "Outcome":
        """The outcome of a clip that raised `error`."""
        return cls(key, {}, error.code.value, error.detail, attempts)


def digest(*parts: Any) -> str:
    """A short content key of JSON-like values; equal values give equal keys on every machine."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def file_digest(path: Path) -> str:
    """sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Ledger:
    """The finished clips of one stage, in `data/ledgers/<stage>.sqlite`. Use as a context manager."""

    def __init__(self, stage: str) -> None:
        self._path = LEDGERS / f"{stage}.sqlite"

    def __enter__(self) -> "Ledger":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            # WAL: a commit survives kill -9 at once and a power cut to within the last few lines.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS clips (clip_id TEXT PRIMARY KEY, key TEXT NOT NULL, error TEXT, "
                "error_detail TEXT, attempts INTEGER NOT NULL, data TEXT NOT NULL)"
            )
        except sqlite3.DatabaseError as error:
            raise WorkError(f"{self._path} is damaged ({error}): delete it; its clips will be redone") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __setitem__(self, clip_id: str, outcome: Outcome) -> None:
        data = json.dumps(dict(outcome.values))
        row = (clip_id, outcome.key, outcome.error, outcome.error_detail, outcome.attempts, data)
        try:
            self._db.execute("INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            raise WorkError(f"{self._path}: {error}; free some space and run the same command to carry on") from None

    def load(self) -> dict[str, Outcome]:
        """Every line, by clip_id."""
        rows = self._db.execute("SELECT clip_id, key, data, error, error_detail, attempts FROM clips")
        return {clip_id: Outcome(key, json.loads(data), *rest) for clip_id, key, data, *rest in rows}

    def forget_transient(self) -> int:
        """Mark the clips whose failure may have passed as not done, keep their attempts; return how many."""
        marks = ", ".join("?" for _ in TRANSIENT)
        query = f"UPDATE clips SET key = '' WHERE key != '' AND error IN ({marks})"
        return self._db.execute(query, sorted(TRANSIENT)).rowcount
