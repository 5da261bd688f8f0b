"""Killed, interrupted, stopped and doubled runs end with the same bytes, leave no process, and need no repair."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import REPO, Project, make_project
from tests.pipeline.draw import counter_picture, frame_times, write_video
from tests.pipeline.host import Fault, serving
from tests.pipeline.mirror import clip_member, mirror_kinetics, video_ids
from tests.reliability.runs import (
    INTERRUPTED,
    STAGES,
    Descendants,
    assert_same,
    copy_inputs,
    needs_proc,
    outputs,
    run_stages,
    start_dvc,
    start_process,
    temporary_files,
    wait_for,
    with_dvc,
)
from tests.training import toy

pytestmark = needs_proc

KEPT = "finished work is kept, run the same command to continue"
LINES = {
    signal.SIGINT: (1, INTERRUPTED),
    signal.SIGTERM: (143, f"error: terminated; {KEPT}"),
    signal.SIGHUP: (129, f"error: the terminal was closed; {KEPT}"),
}
KILLS = {  # 51 in all
    **{"download": 4, "trim": 6, "resample": 4, "resize": 6, "merge": 4, "split": 4, "shard": 5, "verify": 4},
    **{"hosted download": 4, "pretrain": 4, "dvc repro": 6},
}
SLOW_HOST = Fault(drip=(1 << 15, 0.008))  # 4 MB/s


@pytest.fixture(scope="module")
def prepared(uninterrupted: Project, tmp_path_factory: pytest.TempPathFactory):
    """A function that copies the project as it is before a stage; the seconds that each stage's command takes there."""
    folder = tmp_path_factory.mktemp("prepared")
    project = copy_inputs(uninterrupted, folder / "project")
    seconds = {}
    for stage in STAGES:
        shutil.copytree(project.root, folder / stage)
        start = time.monotonic()
        assert project.popen(stage).wait(120) == 0
        seconds[stage] = time.monotonic() - start

    def copy(stage: str, root: Path) -> Project:
        shutil.copytree(folder / stage, root)
        return Project(root)

    copy.seconds = seconds
    return copy


def send_after(process: "subprocess.Popen[str]", seconds: float, *numbers: int, group: bool = False) -> tuple[int, str]:
    """Send signals after so many seconds, if it has not ended by then; returns its exit code and stderr."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        for number in numbers:
            if process.poll() is None:
                os.killpg(process.pid, number) if group else process.send_signal(number)
                time.sleep(0.02)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def assert_finishes(project: Project, stage: str, uninterrupted: Project) -> None:
    """Run a stage to its end: all that it writes has the bytes of the uninterrupted run, and no temporary file is left."""
    run_stages(project, [stage])
    expected = outputs(uninterrupted)
    for name, content in outputs(project).items():
        assert content == expected[name], f"{name} differs"
    if stage != "verify":
        written = {"merge": "clips", "split": "splits", "shard": "shards"}.get(stage, stage)
        assert project.manifest(written) == uninterrupted.manifest(written)
    assert temporary_files(project.root) == []


def was_python(code: int, err: str, number: int) -> bool:
    """Whether the signal came before the first line of this project's code: Python's own answer to it."""
    if number == signal.SIGINT:
        return code == -number and not any(f"/{name}/" in err for name in ("common", "pipeline/", "training/"))
    return (code, err) == (-number, "")


# kill -9


def kill_and_finish(prepared, uninterrupted, folder: Path, stage: str, share: float) -> int:
    """Kill a stage at a share of its time, then run it to its end; returns how often it had to be started to be killed."""
    for start in range(1, 6):
        descendants, project = Descendants(), prepared(stage, folder / str(start))
        process, began = project.popen(stage, env=descendants.env), time.monotonic()
        code, err = send_after(process, share * prepared.seconds[stage], signal.SIGKILL)
        assert code in (0, -signal.SIGKILL), err
        descendants.assert_end()
        assert_finishes(project, stage, uninterrupted)
        if code != 0:
            return start
        prepared.seconds[stage] = min(prepared.seconds[stage], time.monotonic() - began)  # the machine is less busy now
    pytest.fail("the stage ends too soon to be killed")


def test_killed_stage_ends_with_the_same_bytes_when_rerun(prepared, uninterrupted, tmp_path):
    kill_and_finish(prepared, uninterrupted, tmp_path, "trim", 0.6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stages_killed_at_random_instants_end_with_the_same_bytes(prepared, uninterrupted, tmp_path):
    rng = random.Random(0)
    kills = [(stage, kill, rng.uniform(0, 1)) for stage in STAGES for kill in range(KILLS[stage])]
    starts = sum(
        kill_and_finish(prepared, uninterrupted, tmp_path / f"{stage}{kill}", stage, share)
        for stage, kill, share in kills
    )
    print(f"{len(kills)} kills in {starts} starts")


@pytest.fixture
def hosted(tmp_path):
    """A project whose clips are in two archives on an HTTP host on loopback."""
    project, rng = make_project(tmp_path / "hosted"), random.Random(0)
    videos = video_ids("abcdef")
    parts = []
    for part in range(2):
        members = []
        for n in range(3 * part, 3 * part + 3):
            pictures = [counter_picture(100 * n + k) for k in range(20)]
            clip = write_video(tmp_path / f"{n}.mp4", frame_times(20, 10), pictures=pictures).read_bytes()
            members += [(clip_member(videos[n]), clip), (f"unwanted{n}", rng.randbytes(1 << 20))]
        parts.append({"members": members})
    rows = [(("run", "jump")[n % 2], video, 0) for n, video in enumerate(videos)]
    mirror_kinetics(project, rows, parts, clips=6)
    mirror = project.root / "mirror"
    with serving() as host:
        host.always = SLOW_HOST
        host.files = {f"/{p.relative_to(mirror).as_posix()}": p.read_bytes() for p in mirror.rglob("*") if p.is_file()}
        shutil.rmtree(mirror)
        yield project.set(corpus=host.url)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_download_from_a_host_killed_at_random_instants_ends_with_the_same_bytes(hosted, tmp_path):
    once = Project(tmp_path / "once")
    shutil.copytree(hosted.root, once.root)
    start = time.monotonic()
    assert once.popen("download").wait(120) == 0
    seconds, rng, killed = time.monotonic() - start, random.Random(1), 0
    for kill in range(KILLS["hosted download"]):
        project, descendants = Project(tmp_path / f"kill{kill}"), Descendants()
        shutil.copytree(hosted.root, project.root)
        code, _ = send_after(project.popen("download", env=descendants.env), rng.uniform(0, seconds), signal.SIGKILL)
        killed += code != 0
        descendants.assert_end()
        assert project.call("download").returncode == 0
        assert project.manifest("download") == once.manifest("download")
        clips = [{p.name: p.read_bytes() for p in one.root.glob("data/raw/**/*.mp4")} for one in (project, once)]
        assert_same(*clips)
        assert temporary_files(project.root) == []
    print(f"{killed} of {KILLS['hosted download']} downloads were killed")
    assert killed


@pytest.fixture(scope="module")
def toy_inputs(tmp_path_factory):
    """A folder with toy shards and params of a pre-training of some seconds, which writes four checkpoints."""
    root = tmp_path_factory.mktemp("toy")
    toy.write_shards(root, toy.orbit_clips(classes=4, held_out=1, per_class=2, ticks=50, size=32))
    shape = {"num_frames": 8, "dim": 24, "heads": 2, "depth": 1, "decoder_depth": 1}
    toy.write_params(root, pretrain__overrides=shape, pretrain__optimiser=toy.optimiser(steps=180))
    return root


def start_training(root: Path, stage: str, env) -> "subprocess.Popen[str]":
    own = {"PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return start_process([sys.executable, "-m", "training", stage], root, {**own, **env})


def trained(root: Path):
    """The weights by name, and the metrics and the curve, of a finished pre-training."""
    weights = torch.load(root / "checkpoints/pretrain/model.pt", weights_only=True)["model"]
    return weights, json.loads((root / "metrics/pretrain.json").read_text()), (root / "plots/pretrain.tsv").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_training_killed_at_random_instants_ends_with_the_same_weights(toy_inputs, tmp_path):
    shutil.copytree(toy_inputs, tmp_path / "once")
    start = time.monotonic()
    assert start_training(tmp_path / "once", "pretrain", {}).wait(240) == 0
    seconds, rng, killed = time.monotonic() - start, random.Random(2), 0
    weights, *texts = trained(tmp_path / "once")
    for kill in range(KILLS["pretrain"]):
        root, descendants = tmp_path / f"kill{kill}", Descendants()
        shutil.copytree(toy_inputs, root)
        process = start_training(root, "pretrain", descendants.env)
        killed += send_after(process, rng.uniform(0, seconds), signal.SIGKILL)[0] != 0
        descendants.assert_end()
        process = start_training(root, "pretrain", descendants.env)
        assert process.communicate(timeout=240)[1] == ""
        again, *others = trained(root)
        assert others == texts
        assert all(torch.equal(weights[name], again[name]) for name in weights)
        assert weights.keys() == again.keys()
        assert temporary_files(root) == []
    print(f"{killed} of {KILLS['pretrain']} trainings were killed")
    assert killed


def repro(project: Project, env) -> tuple[int, str]:
    process = start_dvc(project, "repro", "verify", env=env)
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dvc_repro_killed_at_random_instants_goes_on_by_itself(uninterrupted, tmp_path):
    once, descendants = with_dvc(copy_inputs(uninterrupted, tmp_path / "once")), Descendants()
    start = time.monotonic()
    code, text = repro(once, {})
    assert code == 0, text
    assert_same(outputs(once), outputs(uninterrupted))
    seconds, rng, killed = time.monotonic() - start, random.Random(3), 0
    for run in range(2):
        project = with_dvc(copy_inputs(uninterrupted, tmp_path / f"run{run}"))
        for _ in range(KILLS["dvc repro"] // 2):
            process = start_dvc(project, "repro", "verify", env=descendants.env)
            code, err = send_after(process, rng.uniform(0, seconds), signal.SIGKILL)
            assert code in (0, -signal.SIGKILL), err
            killed += code != 0
            descendants.assert_end(20)
        code, text = repro(project, descendants.env)
        assert code == 0, text
        assert_same(outputs(project), outputs(uninterrupted))
        assert [name for name in temporary_files(project.root) if not name.startswith(".dvc/")] == []
    print(f"{killed} of {KILLS['dvc repro']} runs of dvc repro were killed")
    assert killed


# SIGTERM, SIGHUP, Ctrl-C


def assert_clean_end(code: int, err: str, number: int) -> None:
    """Done, or ended by the signal with its one line; before the project's own code has started, Python's answer."""
    if not was_python(code, err, number):
        assert (code, err.splitlines()) in ((0, []), (LINES[number][0], [LINES[number][1]]))


@pytest.mark.parametrize("number", LINES, ids=lambda number: signal.Signals(number).name)
def test_signal_ends_a_stage_with_one_line(prepared, uninterrupted, tmp_path, descendants, number):
    project = prepared("trim", tmp_path / "project")
    process = project.popen("trim", env=descendants.env, start_new_session=True)
    assert wait_for(
        lambda: len(descendants.alive()) > 2 or process.poll() is not None
    )  # a worker and a resource tracker
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()) == (LINES[number][0], [LINES[number][1]])
    descendants.assert_end()
    assert_finishes(project, "trim", uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", LINES, ids=lambda number: signal.Signals(number).name)
def test_stages_that_get_a_signal_at_random_instants_end_with_one_line(prepared, uninterrupted, tmp_path, number):
    rng, ended, early = random.Random(int(number)), 0, 0
    for stage in STAGES:
        for share in (rng.uniform(0, 0.5), rng.uniform(0.5, 1)):
            project, descendants = prepared(stage, tmp_path / f"{stage}{share}"), Descendants()
            process = project.popen(stage, env=descendants.env, start_new_session=True)
            group = number != signal.SIGTERM  # a terminal signals all processes of its group, a supervisor the one
            code, err = send_after(process, share * prepared.seconds[stage], number, group=group)
            assert_clean_end(code, err, number)
            descendants.assert_end()
            assert_finishes(project, stage, uninterrupted)
            ended += code != 0
            early += was_python(code, err, number)
    print(
        f"{ended} of {2 * len(STAGES)} stages were ended by {signal.Signals(number).name}, {early} by Python's own start"
    )
    assert ended > len(STAGES) * 0.7


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_twice_ends_a_stage_with_one_line(prepared, uninterrupted, tmp_path):
    rng = random.Random(4)
    for stage in ("download", "trim", "resize", "shard", "verify"):
        for run in range(2):
            project, descendants = prepared(stage, tmp_path / f"{stage}{run}"), Descendants()
            process = project.popen(stage, env=descendants.env, start_new_session=True)
            seconds = rng.uniform(0.2, 1) * prepared.seconds[stage]
            code, err = send_after(process, seconds, signal.SIGINT, signal.SIGINT, group=True)
            assert_clean_end(code, err, signal.SIGINT)
            descendants.assert_end()
            assert_finishes(project, stage, uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", LINES, ids=lambda number: signal.Signals(number).name)
def test_training_that_gets_a_signal_ends_with_one_line_and_continues(toy_inputs, tmp_path, descendants, number):
    shutil.copytree(toy_inputs, tmp_path / "toy")
    process = start_training(tmp_path / "toy", "pretrain", descendants.env)
    checkpoint = tmp_path / "toy/checkpoints/pretrain/model.pt"
    assert wait_for(lambda: checkpoint.exists() or process.poll() is not None)
    code, err = send_after(process, 0.01, number, number, group=True)
    assert_clean_end(code, err, number)
    process = start_training(tmp_path / "toy", "pretrain", descendants.env)
    assert process.communicate(timeout=240)[1] == ""
    assert process.returncode == 0
    assert temporary_files(tmp_path / "toy") == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", LINES, ids=lambda number: signal.Signals(number).name)
def test_signal_to_dvc_repro_and_its_stage_is_no_traceback_and_a_rerun_completes(
    uninterrupted, tmp_path, descendants, number
):
    project = with_dvc(copy_inputs(uninterrupted, tmp_path / "project"))
    process = start_dvc(project, "repro", "verify", env=descendants.env)
    assert wait_for(lambda: (project.root / "data/locks/trim").exists() or process.poll() is not None)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Traceback" not in out + err
    if number == signal.SIGINT:
        assert INTERRUPTED in err
    descendants.assert_end(20)
    code, text = repro(project, descendants.env)
    assert code == 0, text
    assert_same(outputs(project), outputs(uninterrupted))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGKILL, *LINES], ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize(("workers", "seconds"), [(1, 0), (2, 0), (2, 0.1), (2, 0.2)])
def test_processes_that_draw_the_sample_end_with_it(tmp_path, descendants, number, workers, seconds):
    """The signal comes while processes start, when both have started, or while they import their modules."""
    project = make_project(tmp_path).set(
        corpus="sample", sources={"tinyvirat": {"kind": "tinyvirat"}}, engine__workers=2
    )
    process = project.popen("download", env=descendants.env, start_new_session=True)
    assert wait_for(lambda: len(workers_of(descendants)) >= workers or process.poll() is not None)
    time.sleep(seconds)
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGKILL:  # multiprocessing's own processes may complain that their parent has gone
        assert process.returncode == -signal.SIGKILL
    else:
        assert (process.returncode, err.splitlines()) == (LINES[number][0], [LINES[number][1]])
    descendants.assert_end()


# SIGSTOP


def workers_of(descendants: Descendants) -> list[int]:
    return [process for process, line in descendants.alive().items() if "spawn_main" in line]


def stop_and_continue(prepared, folder: Path, stage: str, *, workers: bool, seconds: float):
    """Stop a stage, or its workers alone, as soon as a worker has started; returns the project, exit code and stderr."""
    project, descendants = prepared(stage, folder).set(engine__workers=2), Descendants()
    process = project.popen(stage, env=descendants.env)
    assert wait_for(lambda: len(workers_of(descendants)) == 2 or process.poll() is not None)
    assert process.poll() is None
    stopped = workers_of(descendants) if workers else [process.pid]
    for one in stopped:
        os.kill(one, signal.SIGSTOP)
    time.sleep(seconds)
    assert process.poll() is None
    for one in stopped:
        os.kill(one, signal.SIGCONT)
    _, err = process.communicate(timeout=240)
    descendants.assert_end()
    return project, process.returncode, err


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [False, True], ids=["the stage alone", "its workers alone"])
def test_stage_that_is_stopped_for_longer_than_its_timeout_fails_no_clip(prepared, uninterrupted, tmp_path, workers):
    params = REPO / "params.yaml"
    assert "timeout_s: 120" in params.read_text()

    def with_short_timeout(stage, root):
        return prepared(stage, root).set(engine__timeout_s=20.0)

    project, code, err = stop_and_continue(
        with_short_timeout, tmp_path / "project", "trim", workers=workers, seconds=60
    )
    assert (code, err) == (0, "")
    assert project.manifest("trim") == uninterrupted.manifest("trim")


# Two runs at once


def hold_stage(process: "subprocess.Popen[str]", root: Path, stage: str) -> None:
    """Stop a run once it has the lock of its stage."""
    lock = root / "data/locks" / stage
    assert wait_for(lambda: (lock.exists() and lock.read_text().strip()) or process.poll() is not None)
    process.send_signal(signal.SIGSTOP)
    assert process.poll() is None


def test_same_stage_twice_is_one_line_for_the_second(prepared, uninterrupted, tmp_path, descendants):
    project = prepared("trim", tmp_path / "project")
    first = project.popen("trim", env=descendants.env)
    hold_stage(first, project.root, "trim")
    second = project.call("trim")
    assert (second.returncode, second.stderr) == (
        1,
        f"error: trim is running in this folder already, as process {first.pid}: wait for its end\n",
    )
    first.send_signal(signal.SIGCONT)
    assert first.communicate(timeout=60)[1] == ""
    assert_finishes(project, "trim", uninterrupted)


@pytest.mark.slow
def test_two_stages_at_once_end_with_the_same_bytes(prepared, uninterrupted, tmp_path, descendants):
    project = prepared("verify", tmp_path / "project")
    shutil.rmtree(project.root / "data/filmstrips")
    runs = [project.popen(stage, env=descendants.env) for stage in ("resize", "verify", "merge")]
    assert [(run.communicate(timeout=120)[1], run.returncode) for run in runs] == [("", 0)] * 3
    assert_finishes(project, "verify", uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_same_training_twice_is_one_line_for_the_second(toy_inputs, tmp_path, descendants):
    root = tmp_path / "toy"
    shutil.copytree(toy_inputs, root)
    first = start_training(root, "pretrain", descendants.env)
    hold_stage(first, root, "pretrain")
    second = start_training(root, "pretrain", descendants.env)
    _, err = second.communicate(timeout=120)
    assert err == f"error: pretrain is running in this folder already, as process {first.pid}: wait for its end\n"
    first.send_signal(signal.SIGCONT)
    assert first.communicate(timeout=240)[1] == ""
    assert first.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_dvc_repro_beside_another_and_beside_a_stage_ends_without_a_traceback(uninterrupted, tmp_path, descendants):
    project = with_dvc(copy_inputs(uninterrupted, tmp_path / "project"))
    stage = project.popen("download", env=descendants.env)
    hold_stage(stage, project.root, "download")
    code, text = repro(project, descendants.env)
    assert code != 0
    assert f"error: download is running in this folder already, as process {stage.pid}" in text
    assert "Traceback" not in text
    stage.send_signal(signal.SIGCONT)
    assert stage.communicate(timeout=60)[1] == ""
    first = start_dvc(project, "repro", "verify", env=descendants.env)
    assert wait_for(lambda: (project.root / "data/locks/resample").exists() or first.poll() is not None)
    code, text = repro(project, descendants.env)
    assert code != 0
    assert "is busy, it is being blocked by" in text or "Unable to acquire lock" in text
    assert "Traceback" not in text
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, out + err
    assert repro(project, descendants.env)[0] == 0
    assert_same(outputs(project), outputs(uninterrupted))
