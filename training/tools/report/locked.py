"""What dvc.lock records of the stage that wrote a metrics file: the file's digest, and the params of the run."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from common.params import PARAMS
from common.paths import METRICS

_LOCK = Path("dvc.lock")


def state_of(name: str) -> str:
    """`recorded`, `stale`, or `unknown`, of metrics/<name>.json.

    Results are `recorded` if dvc.lock has the file's digest and the current params, as in a fresh clone; with other params they are
    `stale`. Where dvc.lock has another digest, or none, nothing is known.
    """
    path = METRICS / f"{name}.json"
    # Of no dvc.lock, and of one that DVC has not written.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        stages = yaml.safe_load(_LOCK.read_text())["stages"].values()
        params = yaml.safe_load(PARAMS.read_text())
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        stage = next((stage for stage in stages if _digest(stage, path) == digest), None)
        if stage is not None:
            recorded = stage["params"][PARAMS.as_posix()]
            return "recorded" if all(_value(params, key) == value for key, value in recorded.items()) else "stale"
    return "unknown"


def _digest(stage: Mapping[str, Any], path: Path) -> str | None:
    """The md5 of a stage's output."""
    return next((output["md5"] for output in stage.get("outs", []) if output["path"] == path.as_posix()), None)


def _value(params: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    found: Any = params
    for name in key.split("."):
        found = found[name]
    return found
