"""Digests of the sample's manifests and shards, recorded in digests.json, and their comparison with the files on this machine.

`python -m pipeline.sample.digests` records those in the current folder, once `dvc repro verify` has built the sample.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common import command
from common.errors import ParamError, WorkError
from common.files import write_json
from common.paths import SHARDS
from pipeline import params
from pipeline.composite.excluded import read_excluded
from pipeline.params import PipelineParams
from pipeline.records import manifests
from pipeline.records.rows import ROW_TYPES
from pipeline.runner.ledger import file_digest

RECORDED = Path(__file__).with_name("digests.json")
# Params without effect on the files that are recorded: of downloading, time limits, growing, and the URL of copies.
_WITHOUT_EFFECT = {
    "download": "attempts timeout_s tinyvirat_ca tinyvirat_verify max_mb_per_s disk_gb keep_raw youtube min_height "
    "connections yt_dlp",
    "resize": "timeout_s",
    "split": "freeze",
    "shard": "copy_to",
}


@dataclass(frozen=True)
class Digests:
    """sha256 of each file by its path, and the digest of the params that the files were made by."""

    params: str
    files: Mapping[str, str]


def main() -> None:
    """Record the digests of the sample in the current folder.

    Raises:
        ParamError: the corpus is not the sample.
        WorkError: a manifest is missing, or there are no shards.
    """
    settings = params.load()
    if settings.corpus != "sample":
        raise ParamError(f"params.yaml: corpus is {settings.corpus!r}: must be sample")
    paths = [*(manifests.path_of(kind) for kind in ROW_TYPES), *sorted(SHARDS.glob("*.tar"))]
    files = {path.as_posix(): _file_digest(path) for path in paths}
    missing = [path for path, digest in files.items() if digest is None]
    if missing or len(paths) == len(ROW_TYPES):
        raise WorkError(f"{missing[0] if missing else SHARDS} is missing: run `dvc repro verify`")
    write_json(RECORDED, {"params": params_digest(settings), "files": files})
    print(f"{RECORDED.name}: {len(files)} digests recorded")


def compare(settings: PipelineParams, recorded: Digests | None = None) -> str | None:
    """One line on whether the files in the current folder have the recorded digests.

    None if there is nothing to compare: the corpus is not the sample, the params are not the recorded ones, clips are
    excluded, or `split.freeze` keeps earlier shards. Files that differ are not an error: another build of libx264 or OpenCV
    may encode other bytes.
    """
    recorded = recorded or load()
    if settings.corpus != "sample" or params_digest(settings) != recorded.params:
        return None
    if settings.split.freeze or read_excluded():
        return None
    different = [path for path, digest in recorded.files.items() if _file_digest(Path(path)) != digest]
    if not different:
        return f"all {len(recorded.files)} digests of the sample are as recorded"
    names = ", ".join(Path(path).name for path in different)
    return (
        f"{len(different)} of {len(recorded.files)} digests of the sample differ from the recorded ones ({names}): "
        "the builds of libx264 or OpenCV differ, or the code has changed"
    )


def load(path: Path = RECORDED) -> Digests:
    """The recorded digests."""
    return Digests(**json.loads(path.read_text(encoding="utf-8")))


def params_digest(settings: PipelineParams) -> str:
    """sha256 of the params that shape the dataset."""
    values = dataclasses.asdict(settings)
    del values["engine"]
    for section, names in _WITHOUT_EFFECT.items():
        for name in names.split():
            del values[section][name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str | None:
    """sha256 of a file; None if it does not exist."""
    return file_digest(path) if path.exists() else None


if __name__ == "__main__":
    sys.exit(command.run(main))
