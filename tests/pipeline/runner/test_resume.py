"""Killed, interrupted, out of disk: a rerun redoes exactly what is no longer true, and ends with the same bytes."""

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import runner
from pipeline.records.failures import ClipError, Failure
from pipeline.runner.ledger import Ledger, Outcome
from tests.conftest import make_project
from tests.pipeline.draw import steady, write_video

PER_CLIP = ("download", "trim", "resample", "resize")
WHOLE = ("merge", "split", "shard", "verify")
STAGES = (*PER_CLIP, *WHOLE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A project of 12 clips in 4 classes, two of them windows of a longer video, taken through all stages in peace."""
    project = make_project(tmp_path_factory.mktemp("undisturbed") / "project")
    clips = project.root / "clips"
    for number in range(10):
        write_video(clips / f"class{number % 4}/{number}.mp4", steady(20 + number, 10))
    write_video(clips / "class0/long.mp4", steady(120, 20))
    (clips / "class1/broken.mp4").write_bytes(b"no video")
    (clips / "windows.csv").write_text("path,start_s,end_s\nclass0/long.mp4,1,2.5\nclass0/long.mp4,3,5\n")
    project.set(sources__own__windows="windows.csv")
    carry_on(project, STAGES)
    return project


@pytest.fixture
def fresh(undisturbed, tmp_path):
    """A project with the same clips and params in which nothing has been done."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copytree(undisturbed.root / "clips", root / "clips")
    shutil.copy(undisturbed.root / "params.yaml", root / "params.yaml")
    return type(undisturbed)(root)


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A copy of the finished project."""
    root = tmp_path / "project"
    shutil.copytree(undisturbed.root, root)
    return type(undisturbed)(root)


def products(project):
    """Every manifest's and shard's content; without the one measured column."""
    found = {}
    for path in sorted((project.root / "manifests").glob("*.parquet")):
        if path.stem == "resize":
            found[path.name] = pq.read_table(path).drop_columns(["decode_s"]).to_pylist()
        else:
            found[path.name] = path.read_bytes()
    for path in sorted((project.root / "data/shards").glob("*")):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    found["dataset.json"] = (project.root / "metrics/dataset.json").read_text()
    return found


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name] == other[name], f"{name} differs"


def work_files(project):
    """Files that stages made for clips, with the moment of their writing."""
    folders = (project.root / "data" / name for name in ("trimmed", "filmstrips"))
    return {
        path.relative_to(project.root).as_posix(): path.stat().st_mtime_ns
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def carry_on(project, stages=STAGES[:-1]):
    """Run stages to their end, in this process: most of a command's second is imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        project.run(*stages)


def strike(project, stage, after, how):
    """Start a stage and send it a signal after `after` seconds; its exit code and what it said."""
    process = project.popen(stage, start_new_session=True)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        # Ctrl-C reaches every process of the terminal; kill -9 only the one.
        os.killpg(process.pid, how) if how == signal.SIGINT else process.send_signal(how)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


# Struck by a signal

INTERRUPTED = "error: interrupted; what is finished is kept, run the same command to carry on"


@pytest.fixture(scope="module")
def lives(undisturbed, tmp_path_factory):
    """Seconds that each stage's command takes on this machine today when it finds everything done."""
    root = tmp_path_factory.mktemp("lives") / "project"
    shutil.copytree(undisturbed.root, root)
    project, seconds = type(undisturbed)(root), {}
    for stage in STAGES:
        start = time.monotonic()
        assert project.popen(stage).wait(120) == 0
        seconds[stage] = time.monotonic() - start
    return seconds


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_struck_in_every_stage_and_run_again_it_ends_with_the_same_bytes(undisturbed, fresh, lives, how):
    """Each stage is struck at several moments of its life, then run to its end."""
    struck = 0
    for stage in STAGES:
        for share in (0.3, 0.6, 0.9):
            code, err = strike(fresh, stage, share * lives[stage], how)
            if "error:" in err:  # else it was struck before it had reached the command
                assert err.splitlines() == [INTERRUPTED]
            assert code in (0, 1, -how), err
            struck += code != 0
        carry_on(fresh, [stage])
    assert struck >= len(STAGES) // 2  # else the test tests nothing
    same(products(fresh), products(undisturbed))
    assert not list(fresh.root.rglob(".part-*"))


def test_ctrl_c_in_the_middle_says_one_line_and_keeps_what_is_finished(fresh):
    carry_on(fresh, ["download", "trim", "resample"])
    process = fresh.popen("resize", start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((fresh.root / "data/filmstrips").rglob("own-*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the stage was done before the signal arrived")
    lines = [line for line in err.splitlines() if line]
    assert process.returncode == 1
    assert lines == [INTERRUPTED]
    assert list((fresh.root / "data/filmstrips").rglob("own-*.jpg"))


@pytest.mark.parametrize("after", [0.8, 1.0, 1.2])
def test_ctrl_c_while_workers_are_starting_is_one_line_too(fresh, after):
    carry_on(fresh, ["download"])
    fresh.set(engine__workers=4)
    code, err = strike(fresh, "trim", after, signal.SIGINT)
    assert code in (0, 1, -signal.SIGINT)
    if "error:" in err:
        assert err.splitlines() == [INTERRUPTED]


def test_a_killed_stage_leaves_no_workers_behind(fresh):
    carry_on(fresh, ["download"])
    process = fresh.popen("trim", start_new_session=True)
    time.sleep(1.0)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process of the killed stage is still alive")


# Run again


def test_a_rerun_does_no_work(finished):
    before, files = products(finished), work_files(finished)
    carry_on(finished, STAGES)
    assert work_files(finished) == files
    same(products(finished), before)


def test_a_rerun_after_lost_manifests_does_no_work_either(finished):
    before, files = products(finished), work_files(finished)
    shutil.rmtree(finished.root / "manifests")
    carry_on(finished)
    assert work_files(finished) == files
    same(products(finished), before)


def rewritten(project, before):
    """Files that a rerun wrote again, by what they are called."""
    after = work_files(project)
    return {Path(name).name for name in after if after[name] != before.get(name)}


def test_a_deleted_filmstrip_is_made_again_and_no_other(finished):
    before, files = products(finished), work_files(finished)
    (finished.root / "data/filmstrips/own/own-class1-5.jpg").unlink()
    carry_on(finished)
    assert rewritten(finished, files) == {"own-class1-5.jpg"}
    same(products(finished), before)


def test_a_filmstrip_cut_short_is_made_again(finished):
    before, files = products(finished), work_files(finished)
    strip = finished.root / "data/filmstrips/own/own-class1-5.jpg"
    strip.write_bytes(strip.read_bytes()[:100])
    carry_on(finished)
    assert rewritten(finished, files) == {"own-class1-5.jpg"}
    same(products(finished), before)


def test_a_deleted_cut_is_made_again_and_leads_to_the_same_filmstrip(finished):
    before, files = products(finished), work_files(finished)
    cut = next((finished.root / "data/trimmed").rglob("*long*"))
    cut.unlink()
    carry_on(finished)
    assert rewritten(finished, files) == {cut.name}
    same(products(finished), before)


def test_a_changed_source_file_redoes_that_clip_through_all_stages(finished):
    before, files = products(finished), work_files(finished)
    old = finished.rows("resize")["own-class2-2"]["sha256"]
    write_video(finished.root / "clips/class2/2.mp4", steady(40, 10), gop=3)
    carry_on(finished)
    assert rewritten(finished, files) == {"own-class2-2.jpg"}
    assert finished.rows("resize")["own-class2-2"]["sha256"] != old
    assert finished.rows("resize")["own-class2-2"]["valid_frames"] == 40
    changed = {name for name, content in products(finished).items() if content != before[name]}
    assert "classes.parquet" not in changed
    assert "shards.parquet" in changed


def test_a_source_file_only_touched_changes_nothing(finished):
    before, files = products(finished), work_files(finished)
    os.utime(finished.root / "clips/class2/2.mp4", (1, 1))
    carry_on(finished)
    assert work_files(finished) == files
    same(products(finished), before)


def test_a_broken_file_that_is_mended_comes_in(finished):
    files = work_files(finished)
    write_video(finished.root / "clips/class1/broken.mp4", steady(33, 10))
    carry_on(finished)
    assert rewritten(finished, files) == {"own-class1-broken.jpg"}
    assert finished.rows("shards")["own-class1-broken"]["valid_frames"] == 33


def test_a_removed_source_file_leaves_the_shards(finished):
    files = work_files(finished)
    (finished.root / "clips/class2/2.mp4").unlink()
    carry_on(finished)
    assert rewritten(finished, files) == set()
    assert "own-class2-2" not in finished.rows("shards")


def test_a_changed_param_redoes_its_stage_and_what_follows_and_nothing_before(finished):
    files = work_files(finished)
    finished.set(resize__quality=50)
    carry_on(finished)
    strips = {Path(name).name for name in files if "filmstrips" in name}
    assert rewritten(finished, files) == strips
    finished.set(resize__quality=95, trim__margin_s=0.5)
    files = work_files(finished)
    carry_on(finished, PER_CLIP)
    cuts = {Path(name).name for name in files if "trimmed" in name}
    assert len(cuts) == 2
    assert rewritten(finished, files) >= cuts


def test_a_param_changed_and_changed_back_ends_with_the_same_bytes(undisturbed, finished):
    finished.set(resample__pad="hold")
    carry_on(finished)
    assert products(finished) != products(undisturbed)
    finished.set(resample__pad="loop")
    carry_on(finished)
    same(products(finished), products(undisturbed))


def test_a_ledger_of_garbage_is_one_line_that_says_what_to_do(finished):
    path = finished.root / "data/ledgers/resize.sqlite"
    for side in ("", "-wal", "-shm"):
        Path(f"{path}{side}").unlink(missing_ok=True)
    path.write_bytes(b"garbage" * 1000)
    result = finished.call("resize")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "resize.sqlite is damaged" in result.stderr
    path.unlink()
    assert finished.call("resize").returncode == 0


# The engine


def act(argument):
    """Work that does as it is told."""
    what, value = argument
    if what == "die":
        os.kill(os.getpid(), value)
    if what == "segfault":
        ctypes.string_at(0)
    if what == "exit":
        os._exit(value)
    if what == "hang":
        time.sleep(600)
    if what == "fail":
        raise ClipError(Failure.DECODE_ERROR, value)
    if what == "bug":
        raise ZeroDivisionError(value)
    return {"value": value, "pid": os.getpid()}


def run(*arguments, workers=1, timeout_s=30.0):
    tasks = [runner.Task(f"clip{n}", argument, cost=-n) for n, argument in enumerate(arguments)]
    return {task.clip_id: answer for task, answer in runner.run(act, tasks, workers=workers, timeout_s=timeout_s)}


@pytest.mark.parametrize(
    ("deed", "named"),
    [
        (("die", signal.SIGKILL), "signal SIGKILL"),
        (("segfault", 0), "signal SIGSEGV"),
        (("exit", 3), "exit code 3"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_loses_only_its_clip(deed, named, workers):
    answers = run(("say", 1), deed, ("say", 2), ("say", 3), workers=workers)
    assert [answers[f"clip{n}"]["value"] for n in (0, 2, 3)] == [1, 2, 3]
    assert answers["clip1"].code is Failure.DECODE_ERROR
    assert named in answers["clip1"].detail


def test_a_worker_that_dies_on_every_clip_still_answers_each():
    answers = run(*[("exit", 1)] * 3)
    assert [answers[f"clip{n}"].code for n in range(3)] == [Failure.DECODE_ERROR] * 3


def test_a_hanging_clip_is_a_timeout_and_the_rest_goes_on():
    answers = run(("say", 1), ("hang", 0), ("say", 2), workers=2, timeout_s=4)
    assert answers["clip1"].code is Failure.TIMEOUT
    assert "4 s" in answers["clip1"].detail
    assert [answers[f"clip{n}"]["value"] for n in (0, 2)] == [1, 2]


def test_a_clip_error_is_an_answer_and_a_bug_ends_the_run():
    assert str(run(("fail", "broken\n  here"))["clip0"]) == "decode_error: broken here"
    with pytest.raises(ZeroDivisionError):
        run(("bug", "oops"))


def test_work_is_shared_by_the_workers_and_the_largest_goes_first():
    tasks = [runner.Task(f"clip{n}", ("say", n), cost=n) for n in range(6)]
    order = [answer["value"] for _, answer in runner.run(act, tasks, workers=1)]
    assert order == [5, 4, 3, 2, 1, 0]
    assert len({answer["pid"] for _, answer in runner.run(act, tasks * 20, workers=2)}) == 2
    assert list(runner.run(act, [], workers=2)) == []


# A full disk


def small_disk(folder, size):
    """Mount a file system of `size` on `folder`; skip where that needs rights that are lacking."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")


@pytest.mark.parametrize(("folder", "stage"), [("filmstrips", "resize"), ("shards", "shard"), ("trimmed", "trim")])
def test_a_full_disk_is_one_line_and_a_rerun_completes(undisturbed, fresh, folder, stage):
    before = STAGES[: STAGES.index(stage)]
    carry_on(fresh, before)
    disk = fresh.root / "data" / folder
    small_disk(disk, "4k" if stage == "trim" else "8k")
    try:
        result = fresh.call(stage)
        assert result.returncode == 1, result.stdout
        lines = [line for line in result.stderr.splitlines() if line]
        assert len(lines) == 1, result.stderr
        assert "full" in lines[0]
        assert "carry on" in lines[0]
    finally:
        subprocess.run(["umount", disk], check=True)
    carry_on(fresh, STAGES[len(before) :])
    same(products(fresh), products(undisturbed))


def test_a_file_size_limit_stands_for_a_full_disk_where_none_can_be_mounted(here):
    """Work that meets `no space left` ends the run with one line; it is not the clip's fault."""
    from common.errors import WorkError
    from pipeline.params import Engine
    from pipeline.runner import per_clip

    tasks = [runner.Task("clip", ("/dev/full",))]
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(WorkError, match="disk is full; free some space"):
        per_clip.map_clips("test", write_all, tasks, {"clip": "key"}, Engine("local", 1, 30.0, "auto", None))
    with Ledger("test") as ledger:
        assert ledger.load() == {}


def write_all(path):
    """Work that writes to `path`."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, b"x")
    finally:
        os.close(descriptor)
    return {}


# Retry


def test_retry_tries_transient_failures_again_and_counts_the_attempts(project):
    write_video(project.root / "clips/one/a.mp4", steady(20, 10))
    write_video(project.root / "clips/one/b.mp4", steady(25, 10))
    (project.root / "clips/two").mkdir()
    (project.root / "clips/two/broken.mp4").write_bytes(b"no video")
    project.run("download", "trim", "resample", "resize")
    with Ledger("resize") as ledger:
        known = ledger.load()["own-one-a"]
        ledger["own-one-a"] = Outcome.failed(known.key, ClipError(Failure.TIMEOUT, "no result after 120 s"))
    project.run("resize")
    assert project.rows("resize")["own-one-a"]["error"] == "timeout"  # a rerun alone does not try again
    result = project.call("retry")
    assert result.returncode == 0, result.stderr
    assert "retry: 1 transient failures" in result.stdout
    rows = project.rows("resize")
    assert (rows["own-one-a"]["status"], rows["own-one-a"]["attempts"]) == ("ok", 2)
    assert (rows["own-one-b"]["status"], rows["own-one-b"]["attempts"]) == ("ok", 1)
    assert (rows["own-two-broken"]["error"], rows["own-two-broken"]["attempts"]) == ("unreadable_container", 1)


@pytest.mark.parametrize("code", list(Failure))
def test_only_what_may_pass_by_itself_is_transient(here, code):
    passing = {"not_found", "forbidden", "rate_limited", "timeout", "connection", "truncated"}
    with Ledger("test") as ledger:
        ledger["clip"] = Outcome.failed("key", ClipError(code, "detail"))
        assert ledger.forget_transient() == (code.value in passing)
        assert (ledger.load()["clip"].key == "") == (code.value in passing)


def test_the_ledger_survives_kill_9_line_by_line(here):
    writer = """
import os, signal
from pipeline.runner.ledger import Ledger, Outcome
with Ledger("test") as ledger:
    for number in range(50):
        ledger[f"clip{number}"] = Outcome("key", {"value": number})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    from tests.conftest import REPO

    result = subprocess.run([sys.executable, "-c", writer], env=os.environ | {"PYTHONPATH": str(REPO)})
    assert result.returncode == -signal.SIGKILL
    with Ledger("test") as ledger:
        lines = ledger.load()
    assert {clip_id: outcome.values["value"] for clip_id, outcome in lines.items()} == {
        f"clip{number}": number for number in range(50)
    }
