"""The Ray runner: the same bytes as on one machine; a lost node costs only the tasks that were on it.

Everything that connects to the cluster runs in a process of its own: Ray's client may crash while it shuts down after
a node was lost (https://github.com/ray-project/ray/issues/34637), which would end the whole test session.
"""

import multiprocessing
import os
import pickle
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.records import manifests
from pipeline.records.rows import CompositeRow, ResampleRow, ResizeRow, ShardRow, TrimRow
from tests.conftest import REPO, make_project
from tests.pipeline.draw import frame_times, write_video

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

from pipeline.params import Engine  # noqa: E402
from pipeline.runner import Job, Task  # noqa: E402
from pipeline.runner import ray as ray_runner  # noqa: E402

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")


@pytest.fixture(scope="module")
def nodes():
    """A head node without cores, and two nodes with a core each."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(REPO))  # for the work function that is defined below
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, made
    cluster.shutdown()
    patch.undo()


def engine_on(cluster):
    return Engine(kind="ray", workers=0, timeout_s=30, address=cluster.address, store=None)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Nine clips in three classes, a window of a longer one, and two that are broken."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(9):
        write_video(folder / f"class{number % 3}/{number}.mp4", frame_times(20 + number, 10))
    write_video(folder / "class0/long.mp4", frame_times(120, 20))
    (folder / "class1/broken.mp4").write_bytes(b"no video")
    whole = (folder / "class2/2.mp4").read_bytes()
    (folder / "class2/cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "windows.csv").write_text("path,start_s,end_s\nclass0/long.mp4,1,2.5\nclass0/long.mp4,3,5\n")
    return folder


def project(root, clips, **engine):
    made = make_project(root)
    made.set(sources__own__root=str(clips), sources__own__windows="windows.csv")
    made.set(**{f"engine__{name}": value for name, value in engine.items()})
    return made


def start_process(folder, function, *arguments):
    """Start `function` in a process of its own; `result_of` waits for it."""
    process = multiprocessing.get_context("spawn").Process(target=_store_result, args=(folder, function, arguments))
    process.start()
    return process


def result_of(folder, process):
    """Return or raise what the process returned or raised."""
    process.join(240)
    process.kill()
    result = pickle.loads(Path(folder, "result").read_bytes())
    if isinstance(result, Exception):
        raise result
    return result


def call_in_process(folder, function, *arguments):
    return result_of(folder, start_process(folder, function, *arguments))


def _store_result(folder, function, arguments):
    try:
        result = function(*arguments)
    except Exception as error:  # noqa: BLE001 (raised again in the test)
        result = error
    Path(folder, "result").write_bytes(pickle.dumps(result))


def run_stages(made, *stages):
    """Run stages of the project in a process of its own."""
    call_in_process(made.root, _run_stages, made, *stages)
    return made


def _run_stages(made, *stages):
    os.chdir(made.root)
    made.run(*stages)


def outputs(made):
    """The rows of every manifest, and the bytes of every shard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.root)
        rows = {
            kind.MANIFEST: manifests.read(kind) for kind in (TrimRow, ResampleRow, ResizeRow, CompositeRow, ShardRow)
        }
    return rows | {path.name: path.read_bytes() for path in (made.root / "data/shards").glob("*")}


@pytest.fixture(scope="module")
def local_outputs(tmp_path_factory, clips):
    return outputs(run_stages(project(tmp_path_factory.mktemp("local") / "project", clips), *STAGES))


def test_a_shared_file_system_gives_the_same_bytes_as_one_machine(nodes, local_outputs, clips, tmp_path):
    made = project(tmp_path / "project", clips, kind="ray", address=nodes[0].address)
    assert outputs(run_stages(made, *STAGES)) == local_outputs


@pytest.mark.slow
def test_a_store_gives_the_same_bytes_as_one_machine(nodes, local_outputs, clips, tmp_path):
    store = tmp_path / "store"
    made = project(tmp_path / "project", clips, kind="ray", address=nodes[0].address, store=store.as_uri())
    assert outputs(run_stages(made, *STAGES)) == local_outputs
    assert not list((made.root / "data/filmstrips").rglob("*.jpg"))  # results stay in the store
    assert len(list((store / "data/filmstrips").rglob("*.jpg"))) == 11
    # A rerun makes nothing again that the store has.
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.jpg")}
    run_stages(made, "resize")
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.jpg")} == before


@dataclass(frozen=True)
class Instruction:
    """A task of the work function: sleep for some seconds, or a fault by name."""

    name: str
    action: float | str


def execute(instruction, folder):
    """A work function that leaves a line in `folder` each time it starts."""
    with Path(folder, "started").open("a") as started:
        started.write(f"{instruction.name}\n")
    if instruction.action == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if instruction.action == "hang":
        time.sleep(600)
    if instruction.action == "bug":
        raise RuntimeError("a bug")
    time.sleep(instruction.action)
    return instruction.name


def answers(instructions, folder, engine, timeout_s=30.0, progress=os.devnull):
    """Results by name, failures as text; each finished task leaves a line in `progress`."""
    found = {}
    tasks = [Task(instruction.name, instruction) for instruction in instructions]
    for answer in ray_runner.run(Job(execute, str(folder), timeout_s), tasks, engine):
        found[answer.task.name] = str(answer.result)
        with Path(progress).open("a") as file:
            file.write(f"{answer.task.name}\n")
    return found


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ("die", "worker_died: the worker process died (signal SIGSEGV)"),
        pytest.param("hang", "timeout: no result after 30 s", marks=pytest.mark.slow),
    ],
)
def test_a_crash_and_a_hang_fail_their_task_alone(nodes, tmp_path, action, error):
    instructions = [Instruction("good", 0), Instruction("bad", action), Instruction("fine", 0)]
    assert call_in_process(tmp_path, answers, instructions, tmp_path, engine_on(nodes[0]), 30) == {
        "good": "good",
        "fine": "fine",
        "bad": error,
    }


def test_a_bug_ends_the_run_with_its_exception(nodes, tmp_path):
    with pytest.raises(RuntimeError, match="a bug"):
        call_in_process(tmp_path, answers, [Instruction("one", "bug")], tmp_path, engine_on(nodes[0]))


def test_an_unreachable_cluster_ends_the_stage_with_one_line(clips, tmp_path):
    made = project(tmp_path / "project", clips, kind="ray", address="127.0.0.1:1")
    run_stages(made, "download")
    done = made.call("trim")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no Ray cluster answers at engine.address: 127.0.0.1:1" in done.stderr


def test_a_lost_node_costs_only_the_tasks_that_were_on_it(nodes, tmp_path):
    """Runs last: it leaves the cluster with one node."""
    instructions = [Instruction(f"clip{number:02}", 0.2) for number in range(24)]
    progress = tmp_path / "progress"
    process = start_process(tmp_path, answers, instructions, tmp_path, engine_on(nodes[0]), 30, progress)
    deadline = time.monotonic() + 120
    while (not progress.exists() or progress.read_text().count("\n") < 6) and time.monotonic() < deadline:
        time.sleep(0.05)
    nodes[0].remove_node(nodes[1][0], allow_graceful=False)
    assert result_of(tmp_path, process) == {instruction.name: instruction.name for instruction in instructions}
    started = Path(tmp_path, "started").read_text().split()
    repeated = {name for name in started if started.count(name) > 1}
    assert len(repeated) <= 2  # the running task, and one that Ray had queued on the node
