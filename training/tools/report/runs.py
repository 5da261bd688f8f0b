"""The training runs: on which machine, how long, by which params; from logs/<run>.jsonl, or else from checkpoints."""

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from common.errors import WorkError
from common.paths import CHECKPOINTS, LOGS
from training.engine import runs
from training.engine.checkpoints import Run
from training.params import TrainingParams
from training.tools.ablation_stage2 import without_spt

STAGES = ("pretrain", "stage1", "stage2", "ablation_stage2", "stage3", "ablation")


@dataclass(frozen=True)
class Record:
    """A run as it was recorded; None for what was not.

    Args:
        name: of the run.
        fingerprint: digest of the params, data and code that it ran with.
        expected: digest of the current ones.
        finished: False while it goes on, or after it was stopped.
        description: `device`, `torch`, `processes` and so on, as in the log.
        steps: that were done.
        seconds: from the last start or resumption to the end.
        rates: means over the log, such as `clips_per_s`.
    """

    name: str
    fingerprint: str | None
    expected: str | None
    finished: bool | None
    description: Mapping[str, Any]
    steps: int | None
    seconds: float | None
    rates: Mapping[str, float]

    @property
    def stage(self) -> str:
        """The stage that it belongs to."""
        return self.name.partition("/")[0]

    @property
    def state(self) -> str:
        """`current`, `stale`, `unfinished`, or `unknown` where the params cannot be compared."""
        if self.fingerprint is None or self.expected is None:
            return "unknown"
        if self.fingerprint != self.expected:
            return "stale"
        return "unfinished" if self.finished is False else "current"

    @property
    def duration(self) -> str:
        """As hours, minutes and seconds."""
        return "" if self.seconds is None else str(timedelta(seconds=round(self.seconds)))


def read(settings: TrainingParams) -> list[Record]:
    """All runs that have left a log or a checkpoint.

    Args:
        settings: the current params, with whose fingerprints those of the runs are compared.
    """
    logs = {path.relative_to(LOGS).with_suffix("").as_posix(): path for path in LOGS.rglob("*.jsonl")}
    saved = {path.parent.relative_to(CHECKPOINTS).as_posix(): path for path in CHECKPOINTS.rglob("model.pt")}
    names = sorted(logs.keys() | saved.keys(), key=lambda name: (_rank(name), name))
    return [_record(name, logs.get(name), saved.get(name), settings) for name in names]


def state_of(stages: Sequence[str], records: Sequence[Record]) -> str:
    """The state of results of some stages: `stale` if any of their runs is, else `unfinished` if any is, else `current`."""
    found = {record.state for record in records if record.stage in stages}
    return next((state for state in ("stale", "unfinished", "current") if state in found), "unknown")


def _rank(name: str) -> int:
    stage = name.partition("/")[0]
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def _record(name: str, log: Path | None, checkpoint: Path | None, settings: TrainingParams) -> Record:
    events = [] if log is None else _events(log)
    start: dict[str, Any] = next((event for event in reversed(events) if event["event"] == "start"), {})
    end: dict[str, Any] = events[-1] if events and events[-1]["event"] == "end" else {}
    steps = [event for event in events if event["event"] == "step"]
    recorded = _text(start.get("fingerprint")) or (None if checkpoint is None else _fingerprint(checkpoint))
    return Record(
        name=name,
        fingerprint=recorded,
        expected=_expected(name, settings),
        finished=bool(end) if events else None,
        description=start,
        steps=_whole(end.get("step") or (steps[-1].get("step") if steps else None)),
        seconds=_number(end.get("seconds")),
        rates={
            rate: sum(values) / len(values)
            for rate in ("clips_per_s", "wait_share", "mfu")
            if (values := [value for event in steps if (value := _number(event.get(rate))) is not None])
        },
    )


def _events(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; those that are no JSON objects with an `event`, such as a killed run's last, are left out."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and isinstance(value.get("event"), str):
            found.append(value)
    return found


def _fingerprint(checkpoint: Path) -> str | None:
    """Of a checkpoint, whose tensors are mapped and not read; None if it is damaged."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError):
        return None
    return _text(content.get("fingerprint")) if isinstance(content, dict) else None


def _expected(name: str, settings: TrainingParams) -> str | None:
    """The fingerprint that the run would have now; None where telling it would need a download, or the data is missing."""
    stage, _, part = name.partition("/")
    if stage == "stage1" and settings.stage1.weights is not None:
        return None
    by_stage: dict[str, Callable[[], Run]] = {
        "pretrain": lambda: runs.pretrain_run(settings),
        "stage1": lambda: runs.stage1_run(settings),
        "stage2": lambda: runs.stage2_run(settings, part),
        "ablation_stage2": lambda: _ablation_run(settings, part),
        "stage3": lambda: runs.stage3_run(settings, part),
        "ablation": lambda: _few_shot_ablation_run(settings, part),
    }
    try:
        return by_stage[stage]().fingerprint if stage in by_stage else None
    except (WorkError, ValueError):  # the latter of a name that no run has
        return None


def _ablation_run(settings: TrainingParams, part: str) -> Run:
    """A run of the ablation: `scratch`, or `tubelet_` and a network of stage 2 without SPT."""
    if part == "scratch":
        return runs.stage2_run(settings, "unmasked")
    return runs.stage2_run(without_spt(settings), part.removeprefix("tubelet_"))


def _few_shot_ablation_run(settings: TrainingParams, part: str) -> Run:
    """A run of the ablation of stage 3: labels_SHARE/seed_NUMBER/METHOD."""
    share, seed, name = part.split("/")
    return runs.ablation_run(settings, int(seed.removeprefix("seed_")), float(share.removeprefix("labels_")), name)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if is_number and isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
