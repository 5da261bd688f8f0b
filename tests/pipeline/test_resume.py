"""Stages that are killed, interrupted or out of disk: a rerun processes only what is missing, with the same result."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import ResizeRow
from pipeline.runner.ledger import Ledger, Outcome
from tests.pipeline.draw import frame_times, write_video
from tests.reliability.runs import (
    INTERRUPTED,
    PER_CLIP,
    STAGES,
    assert_same,
    copy_inputs,
    outputs,
    run_stages,
    small_project,
    wait_for,
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The small project, taken through all stages."""
    project = small_project(tmp_path_factory.mktemp("uninterrupted") / "project")
    run_stages(project, STAGES)
    return project


@pytest.fixture
def fresh(uninterrupted, tmp_path):
    """A project with the same clips and params in which nothing has been done."""
    return copy_inputs(uninterrupted, tmp_path / "project")


@pytest.fixture
def finished(uninterrupted, tmp_path):
    """A copy of the finished project."""
    root = tmp_path / "project"
    shutil.copytree(uninterrupted.root, root)
    return type(uninterrupted)(root)


def work_files(project):
    """Files that stages made for clips, with their modification times."""
    folders = (project.root / "data" / name for name in ("trimmed", "filmstrips"))
    return {
        path.relative_to(project.root).as_posix(): path.stat().st_mtime_ns
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_and_signal(project, stage, after, how):
    """Start a stage and send it a signal after `after` seconds; returns its exit code and stderr."""
    process = project.popen(stage, start_new_session=True)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        # Ctrl-C reaches every process of the terminal; kill -9 only the one.
        os.killpg(process.pid, how) if how == signal.SIGINT else process.send_signal(how)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


# Signals


@pytest.fixture(scope="module")
def durations(uninterrupted, tmp_path_factory):
    """Seconds that each stage's command takes on this machine when everything is done already."""
    root = tmp_path_factory.mktemp("durations") / "project"
    shutil.copytree(uninterrupted.root, root)
    project, seconds = type(uninterrupted)(root), {}
    for stage in STAGES:
        start = time.monotonic()
        assert project.popen(stage).wait(120) == 0
        seconds[stage] = time.monotonic() - start
    return seconds


def assert_clean_end(code, err, how):
    """The command finished, or ended as a signal should end it: killed outright, or with one line and exit code 1."""
    if how == signal.SIGKILL:
        assert code in (0, -how), err
    elif code == -how:  # before the command's own code had started: Python's own answer to Ctrl-C
        assert "common/command.py" not in err
    else:
        assert (code, err.splitlines()) in ((0, []), (1, [INTERRUPTED]))


@pytest.mark.parametrize(
    ("how", "shares"),
    [
        pytest.param(signal.SIGKILL, (0.7,), id="kill -9"),
        pytest.param(signal.SIGKILL, (0.3, 0.6, 0.9), id="kill -9, often", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, (0.3, 0.6, 0.9), id="Ctrl-C, often", marks=pytest.mark.slow),
    ],
)
def test_stages_interrupted_at_any_time_end_with_the_same_bytes_when_rerun(
    uninterrupted, fresh, durations, how, shares
):
    """Each stage gets the signal after these shares of its time, then runs to its end."""
    interrupted = 0
    for stage in STAGES:
        for share in shares:
            code, err = run_and_signal(fresh, stage, share * durations[stage], how)
            assert_clean_end(code, err, how)
            interrupted += code != 0
        run_stages(fresh, [stage])
    assert interrupted >= len(shares) * len(STAGES) // 6  # else nothing was tested
    assert_same(outputs(fresh), outputs(uninterrupted))
    assert not list(fresh.root.rglob(".part-*"))


def interrupt(process):
    """Ctrl-C as a terminal sends it, to the whole process group; returns exit code and stderr."""
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_ctrl_c_prints_one_line_and_keeps_finished_clips(fresh):
    run_stages(fresh, ["download", "trim", "resample"])
    process = fresh.popen("resize", start_new_session=True)
    filmstrips = fresh.root / "data/filmstrips"
    assert wait_for(lambda: list(filmstrips.rglob("own-*.jpg")) or process.poll() is not None)
    if process.poll() is not None:
        pytest.skip("the stage had ended before the signal could be sent")
    code, err = interrupt(process)
    assert code in (0, 1)
    assert err.splitlines() == ([INTERRUPTED] if code else [])
    assert list(filmstrips.rglob("own-*.jpg"))


def child_processes(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return children.read_text().split() if children.exists() else []


@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="needs /proc")
@pytest.mark.parametrize("started", [1, 2, 4])
def test_ctrl_c_while_workers_start_prints_one_line(fresh, started):
    run_stages(fresh, ["download"])
    fresh.set(engine__workers=4)
    process = fresh.popen("trim", start_new_session=True)
    # One more than the workers: Python's resource tracker is a child too.
    assert wait_for(lambda: len(child_processes(process.pid)) > started or process.poll() is not None)
    code, err = interrupt(process)
    assert (code, err.splitlines()) in ((0, []), (1, [INTERRUPTED]))


# Reruns


def test_a_rerun_writes_no_file(finished):
    before, files = outputs(finished), work_files(finished)
    run_stages(finished, STAGES)
    assert work_files(finished) == files
    assert_same(outputs(finished), before)


def test_a_rerun_after_deleted_manifests_writes_only_manifests(finished):
    before, files = outputs(finished), work_files(finished)
    shutil.rmtree(finished.root / "manifests")
    run_stages(finished)
    assert work_files(finished) == files
    assert_same(outputs(finished), before)


def rewritten_files(project, before):
    """Names of files that a rerun wrote again."""
    after = work_files(project)
    return {Path(name).name for name in after if after[name] != before.get(name)}


def test_only_a_deleted_filmstrip_is_made_again(finished):
    before, files = outputs(finished), work_files(finished)
    (finished.root / "data/filmstrips/own/own-class1-5.jpg").unlink()
    run_stages(finished)
    assert rewritten_files(finished, files) == {"own-class1-5.jpg"}
    assert_same(outputs(finished), before)


def test_a_truncated_filmstrip_is_made_again(finished):
    before, files = outputs(finished), work_files(finished)
    filmstrip = finished.root / "data/filmstrips/own/own-class1-5.jpg"
    filmstrip.write_bytes(filmstrip.read_bytes()[:100])
    run_stages(finished)
    assert rewritten_files(finished, files) == {"own-class1-5.jpg"}
    assert_same(outputs(finished), before)


def test_a_deleted_cut_is_made_again_with_the_same_filmstrip(finished):
    before, files = outputs(finished), work_files(finished)
    cut = next((finished.root / "data/trimmed").rglob("*long*"))
    cut.unlink()
    run_stages(finished)
    assert rewritten_files(finished, files) == {cut.name}
    assert_same(outputs(finished), before)


def test_a_changed_source_file_redoes_that_clip_through_all_stages(finished):
    before, files = outputs(finished), work_files(finished)
    old = finished.rows("resize")["own-class2-2"]["sha256"]
    write_video(finished.root / "clips/class2/2.mp4", frame_times(40, 10), gop=3)
    run_stages(finished)
    assert rewritten_files(finished, files) == {"own-class2-2.jpg"}
    assert finished.rows("resize")["own-class2-2"]["sha256"] != old
    assert finished.rows("resize")["own-class2-2"]["valid_frames"] == 40
    changed = {name for name, content in outputs(finished).items() if content != before[name]}
    assert "classes.parquet" not in changed
    assert "shards.parquet" in changed


def test_a_source_file_only_touched_changes_nothing(finished):
    before, files = outputs(finished), work_files(finished)
    os.utime(finished.root / "clips/class2/2.mp4", (1, 1))
    run_stages(finished)
    assert work_files(finished) == files
    assert_same(outputs(finished), before)


def test_a_repaired_source_file_enters_the_shards(finished):
    files = work_files(finished)
    write_video(finished.root / "clips/class1/broken.mp4", frame_times(33, 10))
    run_stages(finished)
    assert rewritten_files(finished, files) == {"own-class1-broken.jpg"}
    assert finished.rows("shards")["own-class1-broken"]["valid_frames"] == 33


def test_a_removed_source_file_leaves_the_shards(finished):
    files = work_files(finished)
    (finished.root / "clips/class2/2.mp4").unlink()
    run_stages(finished)
    assert rewritten_files(finished, files) == set()
    assert "own-class2-2" not in finished.rows("shards")


def test_a_changed_param_redoes_its_stage_and_what_follows_and_nothing_before(finished):
    files = work_files(finished)
    finished.set(resize__quality=50)
    run_stages(finished)
    filmstrips = {Path(name).name for name in files if "filmstrips" in name}
    assert rewritten_files(finished, files) == filmstrips
    finished.set(resize__quality=95, trim__margin_s=0.5)
    files = work_files(finished)
    run_stages(finished, PER_CLIP)
    cuts = {Path(name).name for name in files if "trimmed" in name}
    assert len(cuts) == 2
    assert rewritten_files(finished, files) >= cuts


@pytest.mark.slow
def test_a_param_changed_and_changed_back_ends_with_the_same_bytes(uninterrupted, finished):
    finished.set(resample__pad="hold")
    run_stages(finished)
    assert outputs(finished) != outputs(uninterrupted)
    finished.set(resample__pad="loop")
    run_stages(finished)
    assert_same(outputs(finished), outputs(uninterrupted))


def test_a_damaged_ledger_is_set_aside_and_its_clips_are_done_again(finished):
    before = outputs(finished)
    path = finished.root / "data/ledgers/resize.sqlite"
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(b"garbage" * 1000)
    result = finished.call("resize")
    assert (result.returncode, result.stderr) == (0, "")
    assert "resize.sqlite is damaged" in result.stdout
    assert_same(outputs(finished), before)


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


@pytest.mark.parametrize(
    ("folder", "stage"),
    [
        ("filmstrips", "resize"),
        pytest.param("shards", "shard", marks=pytest.mark.slow),
        pytest.param("trimmed", "trim", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_ends_the_stage_with_one_line_and_a_rerun_completes(uninterrupted, fresh, folder, stage):
    before = STAGES[: STAGES.index(stage)]
    run_stages(fresh, before)
    disk = fresh.root / "data" / folder
    small_disk(disk, "4k" if stage == "trim" else "8k")
    try:
        result = fresh.call(stage)
        assert result.returncode == 1, result.stdout
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert "full" in lines[0]
        assert "run the same command to continue" in lines[0]
    finally:
        subprocess.run(["umount", disk], check=True)
    run_stages(fresh, STAGES[len(before) :])
    assert_same(outputs(fresh), outputs(uninterrupted))


# Retry


def test_retry_repeats_transient_failures_and_counts_attempts(project):
    write_video(project.root / "clips/one/a.mp4", frame_times(20, 10))
    write_video(project.root / "clips/one/b.mp4", frame_times(25, 10))
    (project.root / "clips/two").mkdir()
    (project.root / "clips/two/broken.mp4").write_bytes(b"no video")
    project.run("download", "trim", "resample", "resize")
    with Ledger("resize", ResizeRow) as ledger:
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
