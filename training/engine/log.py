"""Logs of runs: logs/<run>.jsonl and TensorBoard while a run goes on, plots/<run>.tsv and DVCLive at its end."""

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from common.files import write_bytes
from common.paths import LOGS, PLOTS


class RunLog:
    """The log of a run: one JSON object a line, each with the name of its `event`. A resumed run appends.

    Scalars are also written for TensorBoard, to logs/tensorboard/<run>/, if it is installed. It keeps the last ones in memory
    until the log, a context manager, is closed.

    Args:
        name: of the run; may contain slashes.
        first: step that the run starts or resumes at; 0 starts the log over.
        write: False for a log that is not written.
    """

    def __init__(self, name: str, first: int, *, write: bool = True) -> None:
        self._path: Path | None = log_path(name) if write else None
        self._started = time.monotonic()
        self._board: Any = None
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not first:
            self._path.unlink(missing_ok=True)
        elif self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._append("\n")  # a killed run may leave a line unfinished
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(LOGS / "tensorboard" / name), purge_step=first + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def start(self, **values: object) -> None:
        """The start or the resumption of the run, with the `time` (ISO 8601, UTC)."""
        self._write("start", values | {"time": datetime.now(UTC).isoformat(timespec="seconds")})

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Values after `step` steps: means over the steps since the last such line, and rates."""
        self._write("step", {"step": step, **values})
        self._add_scalars(step, values)

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """Values measured on validation clips after `step` steps."""
        self._write("validation", {"step": step, **values})
        self._add_scalars(step, {f"validation/{name}": value for name, value in values.items()})

    def end(self, step: int) -> None:
        """The end of the run, and the `seconds` since its start or resumption."""
        self._write("end", {"step": step, "seconds": round(time.monotonic() - self._started, 3)})

    def _write(self, event: str, values: Mapping[str, object]) -> None:
        if self._path is not None:
            finite = {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in values.items()
            }
            self._append(json.dumps({"event": event, **finite}, allow_nan=False) + "\n")

    def _append(self, text: str) -> None:
        assert self._path is not None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def log_path(name: str) -> Path:
    """The log of the run `name`."""
    return LOGS / f"{name}.jsonl"


def write_curves(name: str, history: Mapping[str, Sequence[float]]) -> None:
    """Write plots/<name>.tsv, one row per step, and log through DVCLive where it is installed."""
    write_table(name, {"step": list(range(1, len(history["loss"]) + 1)), **history})
    with contextlib.suppress(ImportError):
        from dvclive.live import Live

        with Live(f"dvclive/{name}", dvcyaml=None, save_dvc_exp=False, monitor_system=False) as live:
            for step, values in enumerate(zip(*history.values(), strict=True), 1):
                live.step = step
                for column, value in zip(history, values, strict=True):
                    live.log_metric(column, value)


def write_table(name: str, columns: Mapping[str, Sequence[float]]) -> None:
    """Write plots/<name>.tsv; without columns, delete the table of an earlier run."""
    if not columns:
        (PLOTS / f"{name}.tsv").unlink(missing_ok=True)
        return
    rows = ["\t".join(columns)]
    for step, *values in zip(*columns.values(), strict=True):
        rows.append("\t".join((f"{step:.0f}", *(f"{value:.6f}" for value in values))))
    write_bytes(PLOTS / f"{name}.tsv", ("\n".join(rows) + "\n").encode())
