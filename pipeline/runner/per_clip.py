"""The per-clip stage: read the upstream manifest, map one function over its clips, write this stage's manifest.

Resume, progress, failures and parallel work are here, once.
"""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tqdm import tqdm

from common.errors import WorkError
from common.files import sweep
from pipeline import runner
from pipeline.fetch.retention import count_punched
from pipeline.params import Engine
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.rows import ClipRow, DownloadRow, ResampleRow, ResizeRow, TrimRow
from pipeline.runner.ledger import Ledger, Outcome, digest
from pipeline.runner.speed import Speed
from pipeline.runner.store import FromStore, Store
from pipeline.runner.worker import Answer, Job, Task


class HasPath(Protocol):
    """A result that refers to one file."""

    @property
    def path(self) -> str:
        """The file, relative to the project folder."""


Upstream = TypeVar("Upstream", DownloadRow, TrimRow, ResampleRow)
Made = TypeVar("Made", TrimRow, ResampleRow, ResizeRow)
Row = TypeVar("Row")
Settings = TypeVar("Settings")
Result = TypeVar("Result", bound=HasPath)


@dataclass(frozen=True)
class PerClipStage(Generic[Upstream, Settings, Made]):
    """A stage that turns each clip's row of one manifest into its row of the next.

    Args:
        work: module-level function `work(row, settings) -> row`; it reads `row.path` and writes at most one file.
        reads: row type of the upstream manifest.
        writes: row type of this stage's manifest.
        version: raised whenever `work` would give another result for the same input.
        folder: where `work` writes its files; temporary files left there by killed processes are removed first.
        cost: relative amount of work in a row, so that long clips start first.
    """

    work: Callable[[Upstream, Settings], Made]
    reads: type[Upstream]
    writes: type[Made]
    version: int
    folder: Path | None = None
    cost: Callable[[Upstream], float] = lambda row: float(getattr(row, "bytes", 0))

    @property
    def name(self) -> str:
        """Name of the stage, of its manifest and of its ledger."""
        return self.writes.MANIFEST

    def run(self, settings: Settings, engine: Engine, *, timeout_s: float | None = None) -> list[Made]:
        """Run the stage over every clip that is not spare, and write its manifest; files that are no clips are left out.

        Args:
            settings: frozen dataclass of everything in params.yaml that shapes the result.
            timeout_s: per clip; by default the engine's.
        """
        rows = [row for row in manifests.read(self.reads) if row.status != "spare" and row.is_clip]
        settings_key = digest(self.name, self.version, dataclasses.asdict(settings))  # type: ignore[call-overload]
        keys = {row.clip_id: digest(settings_key, row.key) for row in rows if row.status == "ok"}
        tasks = [Task(row.clip_id, row, self.cost(row)) for row in rows if row.clip_id in keys]
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            sweep(self.folder)
        job = Job(self.work, settings, timeout_s or engine.timeout_s, engine.memory_mb or 0)
        speed = Speed()
        outcomes = map_clips(self.name, job, tasks, keys, self.writes, engine, distributed=True, speed=speed)
        made = [
            to_row(self.writes, row, outcomes[row.clip_id]) if row.clip_id in keys else self.writes.carried(row)
            for row in rows
        ]
        manifests.write(self.writes, made)
        print_summary(self.name, made)
        if speed.clips:
            print(speed.line(self.name))
        return made


def to_row(kind: type[Made], row: ClipRow, outcome: Outcome[Made]) -> Made:
    """The manifest row of a clip that was worked on."""
    if outcome.result is not None:
        return dataclasses.replace(outcome.result, attempts=outcome.attempts, key=outcome.key)
    return kind(
        clip_id=row.clip_id,
        source=row.source,
        status="failed",
        error=outcome.error,
        error_detail=outcome.error_detail,
        attempts=outcome.attempts,
        key=outcome.key,
    )


def map_clips(
    name: str,
    job: Job[Row, Settings, Result],
    tasks: Iterable[Task[Row]],
    keys: Mapping[str, str],
    kind: type[Result],
    engine: Engine,
    *,
    label: str | None = None,
    distributed: bool = False,
    quiet: bool = False,
    speed: Speed | None = None,
) -> dict[str, Outcome[Result]]:
    """The outcome of every task by clip_id: from the ledger `name` where its key still matches, else computed and recorded.

    Args:
        tasks: named by clip_id.
        kind: dataclass of the results.
        label: of the progress bar; by default `name`.
        distributed: a per-clip stage, which runs on the Ray cluster if `engine.kind` is ray; else always on this machine.
        quiet: show no progress.
        speed: where to count the clips that are done now.

    Raises:
        WorkError: raw bytes that have been dropped are needed again, or the disk is full.
    """
    store = Store(engine.store) if engine.store else None
    outcomes: dict[str, Outcome[Result]] = {}
    with Ledger(name, kind) as ledger:
        known = ledger.load()
        todo = []
        for task in tasks:
            before = known.get(task.name)
            if before is not None and before.key == keys[task.name] and _has_file(before, store):
                outcomes[task.name] = before
            else:
                todo.append(task)
        if distributed:
            _check_not_dropped(todo)
        failed = sum(outcome.error is not None for outcome in outcomes.values())
        bar = tqdm(
            desc=label or name,
            total=len(outcomes) + len(todo),
            initial=len(outcomes),
            unit="clip",
            disable=quiet or None,
        )
        if speed is not None and (engine.kind == "local" or not distributed):
            speed.workers = runner.used(engine.workers, len(todo))
        answers = _run(job, todo, engine, store, distributed=distributed)
        with bar, closing(answers):
            for answer in answers:
                clip_id = answer.task.name
                before = known.get(clip_id)
                # A key emptied by `retry` marks another attempt at the same work.
                attempts = before.attempts + 1 if before is not None and before.key == "" else 1
                outcome = _outcome(answer, keys[clip_id], attempts)
                failed += outcome.error is not None
                ledger[clip_id] = outcomes[clip_id] = outcome
                if speed is not None:
                    speed.add(decode_s=answer.decode_s, size=getattr(answer.result, "bytes", 0) or 0)
                bar.set_postfix(failed=failed, refresh=False)
                bar.update()
    return outcomes


def print_summary(name: str, rows: Sequence[ClipRow]) -> None:
    """Print one line: how many clips are ok, and how many failed by failure code."""
    failures = manifests.count_failures(rows)
    ok = sum(row.status == "ok" for row in rows)
    losses = ", ".join(f"{count} {code}" for code, count in failures.items())
    print(f"{name}: {ok:,} clips ok, {sum(failures.values()):,} failed" + (f" ({losses})" if losses else ""))


def _outcome(answer: Answer[Any, Result], key: str, attempts: int) -> Outcome[Result]:
    if isinstance(answer.result, ClipError):
        return Outcome.failed(key, answer.result, attempts=attempts, seconds=answer.seconds)
    return Outcome(key, answer.result, attempts=attempts, seconds=answer.seconds)


def _has_file(outcome: Outcome[Result], store: Store | None) -> bool:
    """Whether the result's file still exists with its size; a failure has no file."""
    if outcome.result is None:
        return True
    path, size = Path(outcome.result.path), getattr(outcome.result, "bytes", None)
    try:
        found: int | None = path.stat().st_size
    except OSError:
        found = store.size(path) if store else None
    return found is not None and size in (None, found)


def _check_not_dropped(todo: Sequence[Task[Any]]) -> None:
    dropped = count_punched(Path(task.row.path) for task in todo)
    if dropped:
        raise WorkError(
            f"{dropped:,} clips are to be done again, and their raw bytes were dropped (download.keep_raw: false): "
            "run `python -m pipeline download --refill` to fetch them again, then `dvc repro`"
        )


def _run(
    job: Job[Row, Settings, Result],
    tasks: Sequence[Task[Row]],
    engine: Engine,
    store: Store | None,
    *,
    distributed: bool,
) -> Generator[Answer[Row, Result], None, None]:
    if not distributed or engine.kind == "local":
        return runner.run(job, tasks, workers=engine.workers)
    from pipeline.runner import ray  # importing ray takes a second

    if store is None:
        return ray.run(job, tasks, engine)

    def push(row: Any) -> None:
        path = Path(row.path)
        if path.exists():  # else it was made on the cluster, and is in the store
            store.push(path)

    remote: Job[Row, Settings, Result] = dataclasses.replace(job, work=FromStore(job.work, store))  # type: ignore[type-var]
    return ray.run(remote, tasks, engine, before_submit=push)
