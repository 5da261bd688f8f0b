"""Small projects to disturb, and what is compared and counted after a disturbance."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import REPO, Project, make_project, restore_signals
from tests.pipeline.draw import frame_times, write_video

PER_CLIP = ("download", "trim", "resample", "resize")
WHOLE = ("merge", "split", "shard", "verify")
STAGES = (*PER_CLIP, *WHOLE)

INTERRUPTED = "error: interrupted; finished work is kept, run the same command to continue"
TEMPORARY = (".part-*", "*.part-*", ".resume-*", ".*-unfinished", "*-journal", "*-wal", "*-shm", "*.tmp")

_MARK = "TEST_RUN"


def small_project(root: Path) -> Project:
    """Twelve clips in four classes: ten files, one of them broken beside, and two windows of a longer video."""
    project = make_project(root)
    clips = root / "clips"
    for number in range(10):
        write_video(clips / f"class{number % 4}/{number}.mp4", frame_times(20 + number, 10))
    write_video(clips / "class0/long.mp4", frame_times(120, 20))
    (clips / "class1/broken.mp4").write_bytes(b"no video")
    (clips / "windows.csv").write_text("path,start_s,end_s\nclass0/long.mp4,1,2.5\nclass0/long.mp4,3,5\n")
    return project.set(sources__own__windows="windows.csv")


def copy_inputs(project: Project, root: Path) -> Project:
    """A project with the same clips and params in which nothing has been done."""
    root.mkdir(parents=True)
    shutil.copytree(project.root / "clips", root / "clips")
    shutil.copy(project.root / "params.yaml", root / "params.yaml")
    return Project(root)


def run_stages(project: Project, stages: Sequence[str] = STAGES[:-1]) -> None:
    """Run stages to their end in this process, which saves each the second that its imports take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        project.run(*stages)


def outputs(project: Project) -> dict[str, bytes | str]:
    """The content of every manifest and shard, and the metrics, by file name."""
    found: dict[str, bytes | str] = {
        path.name: path.read_bytes() for path in sorted((project.root / "manifests").glob("*.parquet"))
    }
    for path in sorted((project.root / "data/shards").glob("*")):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    metrics = project.root / "metrics/dataset.json"
    if metrics.exists():
        found["dataset.json"] = metrics.read_text()
    return found


def assert_same(one: Mapping[str, object], other: Mapping[str, object]) -> None:
    """The same names with the same content; the message names what differs, without its bytes."""
    assert one.keys() == other.keys()
    for name in one:
        assert one[name] == other[name], f"{name} differs"


def temporary_files(root: Path) -> list[str]:
    """Files below `root` with the name of a temporary file of this project, of SQLite or of DVC."""
    return sorted({str(path.relative_to(root)) for pattern in TEMPORARY for path in root.rglob(pattern)})


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> bool:
    """Poll until `condition()` is true; False when it never is."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def with_dvc(project: Project) -> Project:
    """Make a project one of DVC, with this repository's dvc.yaml and a copy of its code, which others may be editing."""
    for package in ("common", "pipeline", "training"):
        shutil.copytree(REPO / package, project.root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", "run"):
        shutil.copy(REPO / name, project.root / name)
    (project.root / "manifests").mkdir(exist_ok=True)
    shutil.copy(REPO / "manifests/excluded.csv", project.root / "manifests/excluded.csv")
    (project.root / ".dvc").mkdir()
    config = (REPO / ".dvc/config").read_text()
    (project.root / ".dvc/config").write_text(config.replace("[core]", "[core]\n    no_scm = true"))
    return project


def start_dvc(project: Project, *arguments: str, env: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Start `dvc ARGUMENTS` in the project folder, as the leader of a session."""
    folder = Path(sys.executable).parent
    own = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(project.root),
        "DVC_SITE_CACHE_DIR": str(project.root.parent / "dvc"),
        "DVC_NO_ANALYTICS": "1",
    }
    return start_process([str(folder / "dvc"), *arguments], project.root, {**own, **env})


def start_process(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Start a command in `folder`, as the leader of a session; `env` adds to the environment."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=restore_signals,
    )


@dataclass(frozen=True)
class Descendants:
    """All processes that were started with `env`, whatever their parent, their group or their session is now."""

    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def env(self) -> dict[str, str]:
        """The environment variable that each process inherits."""
        return {_MARK: self.mark}

    def alive(self) -> dict[int, str]:
        """Command lines by process id; processes that have ended and are not waited for do not count."""
        return dict(self._find())

    def assert_end(self, within_s: float = 10) -> None:
        """Fail if one of them is still alive after so many seconds."""
        if not wait_for(lambda: not self.alive(), within_s):
            pytest.fail(f"still alive: {self.alive()}")

    def _find(self) -> Iterator[tuple[int, str]]:
        entry = f"{_MARK}={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and entry in (folder / "environ").read_bytes().split(b"\0"):
                    if _is_zombie(folder):
                        continue
                    yield (
                        int(folder.name),
                        (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
                    )
            except OSError:  # ended meanwhile, or another user's
                continue


def _is_zombie(folder: Path) -> bool:
    return (folder / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"


needs_proc = pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/environ").exists(), reason="needs /proc")
