"""On a Ray cluster the same clips give the same bytes, and a node that goes down costs only what it held.

Whatever connects to the cluster does so in a process of its own: Ray's client may crash while it shuts down after a
node was lost (https://github.com/ray-project/ray/issues/34637), and would take the whole suite along.
"""

import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import pytest

from pipeline.records.failures import ClipError
from pipeline.records.manifests import read_table
from tests.conftest import REPO, make_project
from tests.pipeline.draw import steady, write_video

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

from pipeline.params import Engine  # noqa: E402
from pipeline.runner import Task  # noqa: E402
from pipeline.runner import ray as cluster  # noqa: E402

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")


@pytest.fixture(scope="module")
def nodes():
    """A head that only keeps the books, and two nodes with a core each."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(REPO))  # for the work that is defined below
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, made
    cluster.shutdown()
    patch.undo()


def options(cluster, **changes):
    given = {"kind": "ray", "workers": 0, "timeout_s": 30, "address": cluster.address, "store": None}
    return Engine(**given | changes)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Nine clips in three classes, a window of a longer one, and two that are broken."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(9):
        write_video(folder / f"class{number % 3}/{number}.mp4", steady(20 + number, 10))
    write_video(folder / "class0/long.mp4", steady(120, 20))
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


def start_apart(folder, function, *arguments):
    """Begin `function` in a process of its own; `ended` has its result."""
    process = multiprocessing.get_context("spawn").Process(target=_keep_result, args=(folder, function, arguments))
    process.start()
    return process


def ended(folder, process):
    """What the process returned or raised."""
    process.join(240)
    process.kill()
    result = pickle.loads(Path(folder, "result").read_bytes())
    if isinstance(result, Exception):
        raise result
    return result


def apart(folder, function, *arguments):
    return ended(folder, start_apart(folder, function, *arguments))


def _keep_result(folder, function, arguments):
    try:
        result = function(*arguments)
    except Exception as error:
        result = error
    Path(folder, "result").write_bytes(pickle.dumps(result))


def taken_through(made, *stages):
    apart(made.root, _run_stages, made, *stages)
    return made


def _run_stages(made, *stages):
    os.chdir(made.root)
    made.run(*stages)


def products(made):
    """Every manifest and shard, without the one measured column."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.root)
        manifests = {name: read_table(name) for name in ("trim", "resample", "resize", "clips", "shards")}
    manifests["resize"] = manifests["resize"].drop_columns(["decode_s"])
    shards = {path.name: path.read_bytes() for path in (made.root / "data/shards").glob("*")}
    return {name: table.to_pylist() for name, table in manifests.items()} | shards


@pytest.fixture(scope="module")
def by_local(tmp_path_factory, clips):
    return products(taken_through(project(tmp_path_factory.mktemp("local") / "project", clips), *STAGES))


def test_the_same_bytes_on_a_shared_file_system(nodes, by_local, clips, tmp_path):
    made = project(tmp_path / "project", clips, kind="ray", address=nodes[0].address)
    assert products(taken_through(made, *STAGES)) == by_local


def test_the_same_bytes_through_a_store(nodes, by_local, clips, tmp_path):
    store = tmp_path / "store"
    made = project(tmp_path / "project", clips, kind="ray", address=nodes[0].address, store=store.as_uri())
    assert products(taken_through(made, *STAGES)) == by_local
    assert not list((made.root / "data/filmstrips").rglob("*.jpg"))  # they are where the cluster left them
    assert len(list((store / "data/filmstrips").rglob("*.jpg"))) == 11
    # What the store holds is not made again.
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.jpg")}
    taken_through(made, "resize")
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.jpg")} == before


def act(argument):
    """Work that sleeps, dies or raises, as told, and leaves a line each time it is begun."""
    folder, name, what = argument
    with Path(folder, "begun").open("a") as begun:
        begun.write(f"{name}\n")
    if what == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(600)
    if what == "bug":
        raise RuntimeError("a bug")
    time.sleep(what)
    return {"value": name}


def answers(tasks, settings, timeout_s=30.0, progress=os.devnull):
    found = {}
    for task, answer in cluster.run(act, tasks, settings, timeout_s):
        found[task.clip_id] = answer
        with Path(progress).open("a") as file:
            file.write(f"{task.clip_id}\n")
    return found


def test_a_clip_that_kills_or_stalls_its_process_is_answered_for(nodes, tmp_path):
    work = {"good": 0, "dies": "die", "hangs": "hang", "fine": 0}
    tasks = [Task(name, (str(tmp_path), name, what)) for name, what in work.items()]
    found = apart(tmp_path, answers, tasks, options(nodes[0]), 10)
    assert found["good"] == {"value": "good"}
    assert found["fine"] == {"value": "fine"}
    assert isinstance(found["dies"], ClipError)
    assert str(found["dies"]) == "decode_error: the worker process died (signal SIGSEGV)"
    assert str(found["hangs"]) == "timeout: no result after 10 s"


def test_a_bug_ends_the_run(nodes, tmp_path):
    with pytest.raises(RuntimeError, match="a bug"):
        apart(tmp_path, answers, [Task("one", (str(tmp_path), "one", "bug"))], options(nodes[0]))


def test_no_cluster_is_a_one_line_error(clips, tmp_path):
    made = project(tmp_path / "project", clips, kind="ray", address="127.0.0.1:1")
    taken_through(made, "download")
    done = made.call("trim")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no Ray cluster answers at engine.address: 127.0.0.1:1" in done.stderr


def test_a_node_that_goes_down_costs_only_what_it_held(nodes, tmp_path):
    """Last: it leaves the cluster with one node."""
    tasks = [Task(f"clip{number:02}", (str(tmp_path), f"clip{number:02}", 0.2)) for number in range(24)]
    progress = tmp_path / "progress"
    process = start_apart(tmp_path, answers, tasks, options(nodes[0]), 30, progress)
    deadline = time.monotonic() + 120
    while (not progress.exists() or progress.read_text().count("\n") < 6) and time.monotonic() < deadline:
        time.sleep(0.05)
    nodes[0].remove_node(nodes[1][0], allow_graceful=False)
    found = ended(tmp_path, process)
    assert found == {task.clip_id: {"value": task.clip_id} for task in tasks}
    begun = Path(tmp_path, "begun").read_text().split()
    again = {name for name in begun if begun.count(name) > 1}
    assert len(again) <= 2  # the clip in the node's hands, and one that Ray had handed it ahead
