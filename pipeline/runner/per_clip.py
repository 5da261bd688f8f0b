"""What every per-clip stage does: read the upstream manifest, map one pure function over its clips, write its own.

Resume, progress, failures and parallel work are here, once.
"""

import dataclasses
import errno
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import WorkError
from common.files import sweep
from common.paths import RAW, TRIMMED
from pipeline import runner
from pipeline.fetch.disk import is_hollow
from pipeline.params import Engine
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.manifests import Row
from pipeline.runner.ledger import Ledger, Outcome, digest
from pipeline.runner.store import FromStore, Store

_COMMON = ("clip_id", "source")


def run(
    name: str,
    upstream: str,
    work: Callable[..., dict[str, Any]],
    *,
    version: int,
    params: Any,
    options: Engine,
    folder: Path | None = None,
    timeout_s: float | None = None,
    cost: Callable[[Row], float] = lambda row: float(row.get("bytes") or 0),
) -> None:
    """Run the stage `name` over the clips of the manifest `upstream` and write the manifest `name`.

    Args:
        work: module-level function of `(row, params)`, the upstream row and `params`; returns manifest values.
        version: raised whenever `work` would give another result for the same input.
        params: frozen dataclass of everything in params.yaml that shapes the result.
        folder: where `work` writes its files; left-over temporary files there are swept first.
        cost: size of a clip's work, for starting long clips first.
    """
    rows = [row for row in manifests.read(upstream) if row["status"] != "spare"]
    shape = digest(name, version, dataclasses.asdict(params))
    keys = {row["clip_id"]: digest(shape, row["key"]) for row in rows if row["status"] == "ok"}
    tasks = [runner.Task(row["clip_id"], (row, params), cost(row)) for row in rows if row["clip_id"] in keys]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    outcomes = map_clips(name, work, tasks, keys, options, timeout_s, anywhere=True)
    result = [_carried(row) if row["clip_id"] not in keys else to_row(row, outcomes[row["clip_id"]]) for row in rows]
    manifests.write(name, result)
    report(name, result)


def map_clips(
    name: str,
    work: Callable[..., dict[str, Any]],
    tasks: Iterable[runner.Task],
    keys: Mapping[str, str],
    options: Engine,
    timeout_s: float | None = None,
    label: str | None = None,
    *,
    anywhere: bool = False,
    quiet: bool = False,
) -> dict[str, Outcome]:
    """The outcome of every task, taken from the ledger `name` where that is still true, else worked out and recorded.

    Args:
        anywhere: other machines may do the work, if `options` name a cluster: it reads and writes one `path` a clip.
        quiet: show no progress.

    Raises:
        WorkError: bytes that have been dropped are needed again, or the disk is full.
    """
    store = Store(options.store) if options.store else None
    outcomes: dict[str, Outcome] = {}
    with Ledger(name) as ledger:
        known = ledger.load()
        todo = []
        for task in tasks:
            before = known.get(task.clip_id)
            if before is not None and before.key == keys[task.clip_id] and _still_there(before, store):
                outcomes[task.clip_id] = before
            else:
                todo.append(task)
        if anywhere:
            _check_bytes(todo)
        failed = sum(outcome.error is not None for outcome in outcomes.values())
        bar = tqdm(
            desc=label or name,
            total=len(outcomes) + len(todo),
            initial=len(outcomes),
            unit="clip",
            disable=quiet or None,
        )
        limit = timeout_s or options.timeout_s
        if anywhere and options.kind == "ray":
            answers = _run_on_cluster(work, todo, options, limit, store)
        else:
            answers = runner.run(_Guarded(work), todo, workers=options.workers, timeout_s=limit)
        with bar, closing(answers):
            for task, answer in answers:
                before = known.get(task.clip_id)
                # A key emptied by `retry` marks the same work tried again, so its attempts add up.
                attempts = before.attempts + 1 if before is not None and before.key == "" else 1
                key = keys[task.clip_id]
                if isinstance(answer, ClipError):
                    outcome = Outcome.failed(key, answer, attempts)
                    failed += 1
                else:
                    outcome = Outcome(key, answer, attempts=attempts)
                ledger[task.clip_id] = outcomes[task.clip_id] = outcome
                bar.set_postfix(failed=failed, refresh=False)
                bar.update()
    return outcomes


def to_row(row: Row, outcome: Outcome) -> Row:
    """The manifest row of a clip that was worked on."""
    return {name: row[name] for name in _COMMON} | {
        **outcome.values,
        "status": "ok" if outcome.error is None else "failed",
        "error": outcome.error,
        "error_detail": outcome.error_detail,
        "attempts": outcome.attempts,
        "key": outcome.key,
    }


def report(name: str, rows: Iterable[Row]) -> None:
    """Print the stage's one line: how many clips came through, and the losses by reason."""
    rows = list(rows)
    failures = manifests.failures(rows)
    ok = sum(row["status"] == "ok" for row in rows)
    losses = ", ".join(f"{count} {code}" for code, count in failures.items())
    print(f"{name}: {ok:,} clips ok, {sum(failures.values()):,} failed" + (f" ({losses})" if losses else ""))


def _carried(row: Row) -> Row:
    """A clip lost upstream keeps its reason in every later manifest."""
    return {name: row[name] for name in (*_COMMON, "status", "error", "error_detail", "attempts", "key")}


def _still_there(outcome: Outcome, store: Store | None) -> bool:
    """Whether the file that the outcome speaks of is still kept with its size (a failure speaks of none)."""
    path, size = outcome.values.get("path"), outcome.values.get("bytes")
    if outcome.error is not None or path is None:
        return True
    try:
        there: int | None = Path(path).stat().st_size
    except OSError:
        there = store.size(Path(path)) if store else None
    return there is not None and size in (None, there)


def _check_bytes(todo: list[runner.Task]) -> None:
    paths = [Path(task.argument[0]["path"]) for task in todo]
    ours = [path for path in paths if {RAW, TRIMMED} & {*path.parents} and path.exists()]
    hollow = sum(is_hollow(path) for path in ours)
    if hollow:
        raise WorkError(
            f"{hollow:,} clips are to be done again, and their raw bytes were dropped (download.keep_raw: false): "
            "run `python -m pipeline download --refill` to fetch them again, then `dvc repro`"
        )


def _run_on_cluster(
    work: Callable[..., dict[str, Any]],
    tasks: list[runner.Task],
    options: Engine,
    timeout_s: float,
    store: Store | None,
) -> Generator[runner.Answer, None, None]:
    from pipeline.runner import ray as cluster  # importing ray takes a second

    if store is None:
        return cluster.run(_Guarded(work), tasks, options, timeout_s)

    def send(task: runner.Task) -> None:
        path = Path(task.argument[0]["path"])
        if path.exists():  # else a cluster has made it, and the store has it
            store.push(path)

    return cluster.run(_Guarded(FromStore(work, store)), tasks, options, timeout_s, prepare=send)


@dataclasses.dataclass(frozen=True)
class _Guarded:
    """`work` with its arguments spread, and what concerns the machine told apart from what concerns the clip."""

    work: Callable[..., dict[str, Any]]

    def __call__(self, arguments: tuple[Any, ...]) -> dict[str, Any]:
        try:
            return self.work(*arguments)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                # Losing every further clip to a full disk would help nobody: stop, and carry on later.
                raise WorkError(
                    f"{error.filename or 'a file'}: the disk is full; free some space and run the same command to carry on"
                ) from None
            raise
