"""Lost parts of a Ray cluster: a rerun gives the bytes of a run on one machine; no process and no folder is left."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO, Project
from tests.reliability.runs import (
    INTERRUPTED,
    WHOLE,
    Descendants,
    assert_same,
    copy_inputs,
    needs_proc,
    outputs,
    run_stages,
    temporary_files,
    wait_for,
)

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

from pipeline.runner import folders  # noqa: E402

pytestmark = needs_proc
END_S = 300  # for the driver, after a fault: on a busy machine Ray needs minutes to notice a lost node
MAX_DELAY_S = 1.5  # of a fault, after the first child process of a Ray worker has started


@dataclass
class Processes:
    """All processes of a cluster and of its drivers, and their parents."""

    descendants: Descendants = field(default_factory=Descendants)
    _seen: set[tuple[int, str]] = field(default_factory=set)

    def alive(self) -> dict[int, str]:
        """Command lines by process id: those with the mark, their children, and those seen before.

        Ray's workers write their title over their environment, and lose their parent with a raylet.
        """
        everything = dict(_processes())
        found = {pid for pid in self.descendants.alive() if pid in everything}
        found |= {pid for pid, process in everything.items() if (pid, process.started) in self._seen}
        size = -1
        while len(found) > size:
            size = len(found)
            found |= {pid for pid, process in everything.items() if process.parent in found}
        found.discard(os.getpid())
        self._seen |= {(pid, everything[pid].started) for pid in found}
        return {pid: everything[pid].command for pid in found}

    def of_project(self) -> dict[int, str]:
        """Those that run this project's code: drivers, Ray workers and their child processes."""
        names = ("ray::_on_node", "ray::IDLE", "multiprocessing", "pipeline")
        return {pid: command for pid, command in self.alive().items() if any(name in command for name in names)}

    def of_workers(self) -> dict[int, int]:
        """The child process of each Ray worker, as `{child: Ray worker}`."""
        alive = self.alive()
        everything = dict(_processes())
        return {
            pid: everything[pid].parent
            for pid, command in alive.items()
            if "multiprocessing.spawn" in command
            and pid in everything
            and alive.get(everything[pid].parent, "").startswith("ray::")
        }


@dataclass(frozen=True)
class Process:
    parent: int
    started: str
    command: str


def _processes() -> Iterator[tuple[int, Process]]:
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal():
                values = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if values[0] != "Z":
                    yield int(folder.name), Process(int(values[1]), values[19], command)
        except OSError:
            continue


@dataclass
class Nodes:
    """A cluster of a head node without cores and two nodes with one core each."""

    processes: Processes
    cluster: Any
    workers: list[Any]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def replace_node(self) -> None:
        """Kill one node's raylet and all its other processes, as a machine that loses its power, and add another."""
        node = self.workers.pop(0)
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)
        self.workers.append(self.cluster.add_node(num_cpus=1))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    processes = Processes()
    work = tmp_path_factory.mktemp("work")
    monkeypatch.setenv("RAY_TMPDIR", tempfile.gettempdir())  # the names of Ray's sockets have to be short
    monkeypatch.setenv("TMPDIR", str(work))
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    for name, value in processes.descendants.env.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made = Nodes(processes, cluster, [cluster.add_node(num_cpus=1) for _ in range(2)])
    cluster.wait_for_nodes()
    session = Path(cluster.head_node.get_session_dir_path())
    try:
        yield made
        processes.alive()
    finally:
        cluster.shutdown()
        wait_for(lambda: not processes.of_project(), 20)
    left = processes.of_project()
    for pid in processes.alive():  # the agents of a node that was killed outlive it by a minute
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(session, ignore_errors=True)  # Ray's own logs
    assert not left
    for folder in work.glob("clips-*"):  # of killed workers: the next one does this
        folders._delete_if_unlocked(folder)
    assert not list(work.glob("clips-*"))


@pytest.fixture(scope="module")
def resampled(uninterrupted: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small project up to resample."""
    project = copy_inputs(uninterrupted, tmp_path_factory.mktemp("resampled") / "project")
    run_stages(project, ("download", "trim", "resample"))
    return project


def ray_project(resampled: Project, root: Path, address: str, store: Path | None) -> Project:
    shutil.copytree(resampled.root, root)
    return Project(root).set(
        engine__kind="ray",
        engine__address=address,
        engine__workers=0,
        engine__store=None if store is None else store.as_uri(),
    )


def kill_child(nodes: Nodes, _: "subprocess.Popen[str]") -> None:
    for child in nodes.processes.of_workers():
        os.kill(child, signal.SIGKILL)
        return


def kill_worker(nodes: Nodes, _: "subprocess.Popen[str]") -> None:
    for worker in nodes.processes.of_workers().values():
        os.kill(worker, signal.SIGKILL)
        return


def kill_node(nodes: Nodes, _: "subprocess.Popen[str]") -> None:
    nodes.replace_node()


def kill_driver(_: Nodes, driver: "subprocess.Popen[str]") -> None:
    driver.kill()


def interrupt_driver(_: Nodes, driver: "subprocess.Popen[str]") -> None:
    os.killpg(driver.pid, signal.SIGINT)


def terminate_driver(_: Nodes, driver: "subprocess.Popen[str]") -> None:
    driver.terminate()


FAULTS: dict[str, tuple[Callable[[Nodes, "subprocess.Popen[str]"], None], dict[int, list[str]]]] = {
    "kill -9 of a Ray worker": (kill_worker, {0: []}),
    "kill -9 of a node": (kill_node, {0: []}),
    "kill -9 of the driver": (kill_driver, {0: [], -9: []}),
    "Ctrl-C in the driver": (interrupt_driver, {0: [], 1: [INTERRUPTED]}),
    "SIGTERM to the driver": (terminate_driver, {0: [], 143: [INTERRUPTED.replace("interrupted", "terminated")]}),
}

TIMES = {"a shared folder": 3, "a store": 1}  # that each fault is tried, by where the filmstrips go


def disturb(nodes: Nodes, project: Project, fault: str, delay_s: float) -> str:
    """Run resize on the cluster with a fault, and run it again; returns how the first run ended."""
    disturbance, endings = FAULTS[fault]
    driver = project.popen("resize", start_new_session=True)
    try:
        wait_for(lambda: nodes.processes.of_workers() or driver.poll() is not None)
        time.sleep(delay_s)
        ended = driver.poll() is not None
        disturbance(nodes, driver)
        _, err = driver.communicate(timeout=END_S)
    finally:
        driver.kill()
    assert driver.returncode in endings, err
    assert err.splitlines() == endings[driver.returncode]
    again = project.call("resize")
    assert again.returncode == 0, again.stderr
    return "after its end" if ended else "finished" if driver.returncode == 0 else "ended"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_rerun_after_a_lost_process_gives_the_bytes_of_one_machine(
    nodes: Nodes, uninterrupted: Project, resampled: Project, tmp_path: Path
) -> None:
    """Each fault comes so many times, in each of so many equal parts of the time after the first clip was sent."""
    draw, counts = random.Random(0), Counter[tuple[str, str]]()
    for (place, count), fault in itertools.product(TIMES.items(), FAULTS):
        for part in range(count):
            root = tmp_path / f"{fault}, {place}, {part}"
            store = root.with_name(f"store of {root.name}") if place == "a store" else None
            project = ray_project(resampled, root, nodes.address, store)
            delay_s = draw.uniform(part, part + 1) / count * MAX_DELAY_S
            counts[f"{fault}, {place}", disturb(nodes, project, fault, delay_s)] += 1
            run_stages(project, WHOLE)
            assert_same(outputs(project), outputs(uninterrupted))
            assert not temporary_files(project.root)
            assert store is None or not temporary_files(store)
            wait_for(lambda: not nodes.processes.of_workers())
            assert not nodes.processes.of_workers()
    for (name, ending), count in counts.items():
        print(f"{name}: {count} {ending}")


@pytest.mark.slow
def test_a_killed_child_process_fails_its_clip_alone(
    nodes: Nodes, uninterrupted: Project, resampled: Project, tmp_path: Path
) -> None:
    project = ray_project(resampled, tmp_path / "project", nodes.address, None)
    driver = project.popen("resize")
    assert wait_for(lambda: nodes.processes.of_workers() or driver.poll() is not None)
    kill_child(nodes, driver)
    _, err = driver.communicate(timeout=END_S)
    assert (driver.returncode, err) == (0, "")
    rows, expected = project.rows("resize"), uninterrupted.rows("resize")
    different = [name for name in rows if rows[name] != expected[name]]
    assert [rows[name]["error"] for name in different] == ["worker_died"]
    assert project.call("retry").returncode == 0
    rows = project.rows("resize")
    assert {name: row["sha256"] for name, row in rows.items()} == {n: r["sha256"] for n, r in expected.items()}


@pytest.mark.slow
def test_a_lost_head_node_ends_the_stage_with_one_line(nodes: Nodes, resampled: Project, tmp_path: Path) -> None:
    project = ray_project(resampled, tmp_path / "project", nodes.address, None)
    driver = project.popen("resize")
    assert wait_for(lambda: nodes.processes.of_workers() or driver.poll() is not None)
    nodes.cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    _, err = driver.communicate(timeout=END_S)
    assert driver.returncode == 143
    message = f"the Ray cluster at {nodes.address} has ended; finished work is kept, run the same command to continue"
    assert err.splitlines()[-1] == f"error: {message}"  # after lines of Ray's own log
    assert "Traceback" not in err


def test_the_folder_of_a_killed_process_is_deleted_by_the_next_one(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pipeline.runner import folders\n"
        "folder = folders.make('clips-'); (folder / 'file').write_text('a'); print(folder, flush=True)\n"
        "sys.stdin.read(); os._exit(1) if sys.argv[1] == 'killed' else None"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPO)}

    def start(how: str) -> "tuple[subprocess.Popen[str], Path]":
        process = subprocess.Popen(
            [sys.executable, "-c", code, how], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return process, Path(process.stdout.readline().strip())

    first, left = start("killed")
    second, kept = start("ends")
    assert left.exists()
    assert kept.exists()
    first.communicate()
    assert left.exists()
    third, _ = start("ends")
    assert not left.exists()
    assert kept.exists()
    second.communicate()
    third.communicate()
    assert not list(tmp_path.iterdir())
