"""Digests of manifests, recorded when they are written, so that a file that has changed since is not used.

`data/ledgers/<name>.sha256` has a line `digest  path` for each content that the manifest has had, as `sha256sum` prints it.
"""

import hashlib
from pathlib import Path

import yaml

from common.files import sweep, write_bytes
from common.paths import LEDGERS

_LOCK = Path("dvc.lock")


def record(path: Path, content: bytes) -> None:
    """Record that `content` is about to be written to `path`, which is relative to the project folder."""
    line = f"{hashlib.sha256(content).hexdigest()}  {path.as_posix()}"
    lines = [known for known in _lines(path, Path()) if known != line]
    sweep(LEDGERS)
    write_bytes(_file(path, Path()), "".join(f"{known}\n" for known in [*lines, line]).encode())


def has_changed(path: Path, content: bytes, root: Path = Path()) -> bool:
    """Whether `content`, read from `path`, is neither a recorded one nor the one in dvc.lock (after `dvc checkout`).

    False where nothing is recorded, as for a dataset that was copied or pulled from elsewhere.

    Args:
        path: relative to `root`.
        root: the project folder.
    """
    digests = {line.split()[0] for line in _lines(path, root) if line.strip()}
    if not digests or hashlib.sha256(content).hexdigest() in digests:
        return False
    return hashlib.md5(content, usedforsecurity=False).hexdigest() != _locked(path, root)


def _file(path: Path, root: Path) -> Path:
    return root / LEDGERS / f"{path.stem}.sha256"


def _lines(path: Path, root: Path) -> list[str]:
    try:
        return _file(path, root).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _locked(path: Path, root: Path) -> str | None:
    """The md5 of an output in dvc.lock; None if there is none."""
    try:
        stages = yaml.safe_load((root / _LOCK).read_text())["stages"].values()
        outputs = [output for stage in stages for output in stage.get("outs", [])]
        return next((str(output["md5"]) for output in outputs if output["path"] == path.as_posix()), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return None
