"""The ledger: one line per finished clip and stage, written the moment it is finished.

A line is keyed by everything that shaped the result. After kill -9, changed params, a changed source file or a deleted
output, a rerun redoes exactly the clips whose key no longer matches. A line also has a digest of itself: of a damaged
ledger, the lines that are intact are kept.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from common.errors import WorkError
from common.paths import LEDGERS
from pipeline.records.failures import TRANSIENT, ClipError
from pipeline.records.schema import list_fields

Result = TypeVar("Result")

_FORMAT = 3  # of the table; 2 had no digests; a ledger of another format is emptied
_COLUMNS = "clip_id, key, error, error_detail, attempts, seconds, result"
_UNWRITABLE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})
_DISK_FULL = "the disk is full; free some space and run the same command to continue"
_LEAST_FREE = 1 << 16  # bytes of disk that SQLite needs to work at all

Line = tuple[str, str, str | None, str | None, int, float, str | None]


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
        if self._path.is_dir():
            raise WorkError(f"{self._path} is a folder: delete it; its clips will be redone")
        with self._errors():
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                if not self._is_damage(error):
                    raise
                self._db = self._replace_damaged(error)
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __setitem__(self, clip_id: str, outcome: Outcome[Result]) -> None:
        made = None if outcome.result is None else json.dumps(_plain(outcome.result))
        line = (
            clip_id,
            outcome.key,
            outcome.error,
            outcome.error_detail,
            outcome.attempts,
            float(outcome.seconds),
            made,
        )
        with self._errors():
            _insert(self._db, line)

    def load(self) -> dict[str, Outcome[Result]]:
        """Every intact line, by clip_id; lines whose result has other fields than `kind` are left out, and so redone."""
        found = {}
        with self._errors():
            for clip_id, key, error, detail, attempts, seconds, text in _intact_lines(self._db):
                try:
                    made = None if text is None else self._parse(json.loads(text))
                except (ValueError, TypeError, KeyError):
                    continue
                found[clip_id] = Outcome(key, made, error, detail, attempts, seconds)
        return found

    def forget_transient(self) -> int:
        """Mark transient failures as not done, keeping their attempts; returns how many."""
        with self._errors():
            lines = [line for line in _intact_lines(self._db) if line[1] and line[2] in TRANSIENT]
            for line in lines:
                _insert(self._db, (line[0], "", *line[2:]))
        return len(lines)

    def _open(self) -> sqlite3.Connection:
        """A connection to a ledger of this format.

        Raises:
            sqlite3.DatabaseError: the file is damaged, or cannot be written.
        """
        db = _connect(self._path)
        try:
            # With WAL and NORMAL, kill -9 loses no committed line; a power cut may lose the last few.
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            (damage,) = db.execute("PRAGMA integrity_check(1)").fetchone()  # 25 ms for 25,000 timelines
            if damage != "ok":
                raise sqlite3.DatabaseError(" ".join(damage.split()))
            _upgrade(db)
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def _replace_damaged(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """Move the damaged file aside; a connection to a new ledger with the lines of it that are intact."""
        lines = _salvage(self._path)
        aside = self._path.with_name(f"{self._path.name}.damaged")
        for suffix in ("-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{suffix}").unlink(missing_ok=True)
        self._path.replace(aside)
        db = self._open()
        for line in lines:
            _insert(db, line)
        print(
            f"{self._path} is damaged ({error}): {len(lines):,} clips are kept, others redone; the old file is {aside}"
        )
        return db

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into one line with a remedy."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise WorkError(f"{self._path}: {self._remedy(error)}") from None

    def _remedy(self, error: sqlite3.DatabaseError) -> str:
        code = _primary_code(error)
        full = code == sqlite3.SQLITE_IOERR and shutil.disk_usage(self._path.parent).free < _LEAST_FREE
        if code == sqlite3.SQLITE_FULL or full:
            return _DISK_FULL
        if code == sqlite3.SQLITE_BUSY:
            return f"{error}: another process uses it; run the same command again when that has ended"
        if code in _UNWRITABLE:
            return f"{error}: make it and its folder writable, and run the same command again"
        return f"{error}: run the same command again, which keeps the lines that are intact"

    def _is_damage(self, error: sqlite3.DatabaseError) -> bool:
        """Whether the file's content causes the error, and not the disk, its rights or another process."""
        code = _primary_code(error)
        if code == sqlite3.SQLITE_READONLY:  # an unknown version in the file's header has this effect, too
            return os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK)
        return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, None)

    def _parse(self, values: dict[str, Any]) -> Result:
        lists = {name: tuple(values[name]) for name in self._lists if values[name] is not None}
        return self._kind(**values | lists)


def _plain(result: Any) -> Mapping[str, Any]:
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.text_factory = lambda data: data.decode(errors="replace")  # a damaged line is found by its digest
    return db


def _upgrade(db: sqlite3.Connection) -> None:
    """Make the table, or give the lines of the format before this one their digests."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    columns = [row[1] for row in db.execute("PRAGMA table_info(clips)")]
    if columns == [*_COLUMNS.split(", "), "digest"]:
        return
    with db:
        db.execute("BEGIN IMMEDIATE")
        if version == _FORMAT - 1 and columns == _COLUMNS.split(", "):
            db.execute("ALTER TABLE clips ADD COLUMN digest TEXT NOT NULL DEFAULT ''")
            for line in db.execute(f"SELECT {_COLUMNS} FROM clips").fetchall():
                _insert(db, line)
        else:
            db.execute("DROP TABLE IF EXISTS clips")
            db.execute(
                "CREATE TABLE clips (clip_id TEXT PRIMARY KEY, key TEXT NOT NULL, error TEXT, error_detail TEXT, "
                "attempts INTEGER NOT NULL, seconds REAL NOT NULL, result TEXT, digest TEXT NOT NULL)"
            )
        db.execute(f"PRAGMA user_version={_FORMAT}")


def _insert(db: sqlite3.Connection, line: Line) -> None:
    db.execute(
        f"INSERT OR REPLACE INTO clips ({_COLUMNS}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*line, digest(*line))
    )


def _intact_lines(db: sqlite3.Connection, order: str = "ASC") -> Iterator[Line]:
    """Lines whose digest is right, in the order in which they were written, or in the reverse one."""
    for *values, expected in db.execute(f"SELECT {_COLUMNS}, digest FROM clips NOT INDEXED ORDER BY rowid {order}"):
        if not any(isinstance(value, bytes) for value in values) and digest(*values) == expected:
            clip_id, key, error, detail, attempts, seconds, result = values
            yield clip_id, key, error, detail, attempts, seconds, result


def _salvage(path: Path) -> list[Line]:
    """The intact lines of a damaged ledger, those before and those after the damage."""
    lines: dict[str, Line] = {}
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(_connect(path)) as db:
            for line in _intact_lines(db, order):
                lines[line[0]] = line
    return list(lines.values())


def _primary_code(error: sqlite3.DatabaseError) -> int | None:
    """SQLite's result code without its extension; None for an error that SQLite did not raise."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
