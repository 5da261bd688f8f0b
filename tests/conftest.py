"""What all tests share: where the project is, where real clips may be, and a project folder of a test's own."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[1]
SHARED_DATA = (REPO / os.environ.get("SHARED_DATA", "../shared")).resolve()


def real_videos() -> list[Path]:
    """Files below SHARED_DATA/videos, broken ones among them; none when the folder is absent."""
    return sorted(p for p in (SHARED_DATA / "videos").glob("*/*") if p.is_file() and p.suffix not in (".csv", ".md"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; the test runs inside it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass
class Project:
    """A project folder with a params.yaml of its own."""

    root: Path

    def set(self, **changes: Any) -> "Project":
        """Change params: `set(resample__fps=5)` sets `resample.fps`."""
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        for dotted, value in changes.items():
            *sections, key = dotted.split("__")
            place = params
            for section in sections:
                place = place[section]
            place[key] = value
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True))
        return self

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen:
        """Start `python -m pipeline ARGUMENTS` in the project folder."""
        environment = os.environ | {"PYTHONPATH": str(REPO)} | options.pop("env", {})
        command = [sys.executable, "-m", "pipeline", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A suite that runs in the background inherits a deaf ear for Ctrl-C; a user's terminal does not.
        hear = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(command, cwd=self.root, env=environment, preexec_fn=hear, **pipes | options)

    def call(self, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess:
        """Run `python -m pipeline ARGUMENTS` in the project folder, whatever comes of it."""
        process = self.popen(*arguments)
        out, err = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run(self, *stages: str) -> None:
        """Run stages in this process."""
        import importlib

        for stage in stages:
            folder = "pipeline.tools" if stage in ("stats", "report", "retry") else "pipeline"
            importlib.import_module(f"{folder}.{stage}").main()

    def manifest(self, name: str) -> bytes | None:
        """A manifest's bytes; None if it is not there."""
        path = self.root / "manifests" / f"{name}.parquet"
        return path.read_bytes() if path.exists() else None

    def rows(self, manifest: str) -> dict[str, dict[str, Any]]:
        """A manifest read by plain pyarrow, by clip_id."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.root / "manifests" / f"{manifest}.parquet").to_pylist()
        return {row["clip_id"]: row for row in table}


@pytest.fixture
def project(here: Path) -> Project:
    """A project folder with one source of kind `folder`, `clips/`, and nothing expected of its counts."""
    return make_project(here)


def make_project(root: Path) -> Project:
    """Write the repository's params.yaml into `root`, made for small folders of videos."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text((REPO / "params.yaml").read_text())
    return Project(root).set(
        sources={"own": {"kind": "folder", "root": "clips"}},
        engine__workers=1,
        merge__expected_classes=None,
        split__target_clips=None,
        split__expected=None,
        split__held_out=0.34,
    )


Change = Callable[..., Project]
