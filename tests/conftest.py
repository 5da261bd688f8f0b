"""Shared by all tests: the repository's folder, optional real videos, and temporary project folders."""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.__main__ import TOOLS

REPO = Path(__file__).resolve().parents[1]
SHARED_DATA = (REPO / os.environ.get("SHARED_DATA", "../shared")).resolve()


def real_videos() -> list[Path]:
    """Files below SHARED_DATA/videos, broken ones among them; none when the folder is absent."""
    return sorted(p for p in (SHARED_DATA / "videos").glob("*/*") if p.is_file() and p.suffix not in (".csv", ".md"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one during the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Project:
    """A project folder with its own params.yaml."""

    root: Path

    def set(self, **changes: object) -> "Project":
        """Change params.yaml: `set(resample__fps=5)` sets `resample.fps`."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for name, value in changes.items():
            *sections, key = name.split("__")
            section = params
            for part in sections:
                section = section[part]
            section[key] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True))
        return self

    def popen(
        self, *arguments: str, env: Mapping[str, str] | None = None, start_new_session: bool = False
    ) -> "subprocess.Popen[str]":
        """Start `python -m pipeline ARGUMENTS` in the project folder; `env` adds to the environment."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(REPO), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=start_new_session,
            preexec_fn=restore_signals,
        )

    def call(self, *arguments: str, timeout_s: float = 240) -> "subprocess.CompletedProcess[str]":
        """Run `python -m pipeline ARGUMENTS` in the project folder; the exit code is not checked."""
        process = self.popen(*arguments)
        out, err = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run(self, *commands: str) -> None:
        """Run stages or tools in this process; the project folder must be the current one."""
        for command in commands:
            package = "pipeline.tools" if command in TOOLS else "pipeline"
            importlib.import_module(f"{package}.{command}").main()

    def manifest(self, name: str) -> bytes | None:
        """The bytes of a manifest; None if it does not exist."""
        path = self.root / "manifests" / f"{name}.parquet"
        return path.read_bytes() if path.exists() else None

    def rows(self, manifest: str) -> dict[str, dict[str, Any]]:
        """The rows of a manifest by clip_id, read by pyarrow alone."""
        rows = pq.read_table(self.root / "manifests" / f"{manifest}.parquet").to_pylist()
        return {row["clip_id"]: row for row in rows}


@pytest.fixture
def project(here: Path) -> Project:
    """The project of `make_project`, in the current folder."""
    return make_project(here)


def make_project(root: Path) -> Project:
    """Write the repository's params.yaml into `root`, changed for small datasets of one source, the folder `clips/`."""
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


def restore_signals() -> None:
    """In a child process: handle Ctrl-C and SIGHUP as at a terminal.

    A test run in the background ignores Ctrl-C, one under nohup SIGHUP, and its children would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def without_yt_dlp(request: pytest.FixtureRequest) -> Iterator[None]:
    """In tests of `training`: hide its modules, of which some raise when torch.compile's pickler searches all modules."""
    hidden = {}
    if request.path.is_relative_to(REPO / "tests/training"):
        hidden = {name: sys.modules[name] for name in list(sys.modules) if name.partition(".")[0] == "yt_dlp"}
    for name in hidden:
        del sys.modules[name]
    yield
    sys.modules.update(hidden)
