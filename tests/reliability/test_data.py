"""Full and read-only disks, wrong clocks, files that change under way, and damaged ledgers, manifests, filmstrips and shards.

The result is the same bytes in the end, or one line that names the file. Tests marked slow print how many faults were tried.
"""

import os
import random
import shutil
import sqlite3
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from common import command
from common.errors import WorkError
from pipeline import verify
from pipeline.records import manifests
from pipeline.records.rows import ROW_TYPES, CompositeRow, ShardRow
from pipeline.runner.ledger import Ledger
from tests.conftest import REPO, Project, make_project
from tests.pipeline.draw import frame_times, write_video
from tests.pipeline.mirror import clip_member, mirror_kinetics, video_ids
from tests.reliability.runs import (
    STAGES,
    assert_same,
    copy_inputs,
    outputs,
    run_stages,
    start_dvc,
    temporary_files,
    with_dvc,
)
from tests.training import toy
from training.clips import Clips

LEDGERS = ("trim", "resample", "resize")


def first_fast(*cases):
    """Parameters of a test, of which all but the first are slow."""
    return [
        cases[0],
        *(pytest.param(*(c if isinstance(c, tuple) else (c,)), marks=pytest.mark.slow) for c in cases[1:]),
    ]


@pytest.fixture
def finished(uninterrupted, tmp_path):
    """A copy of the finished project."""
    shutil.copytree(uninterrupted.root, tmp_path / "finished")
    return Project(tmp_path / "finished")


def error_line(result):
    """The one line on stderr of a command that failed."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == 1, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def run_or_describe(project, *stages):
    """Run stages in this process; the line that the command would print if one cannot be run, or None."""
    try:
        run_stages(project, stages)
    except WorkError as error:
        return str(error)
    except OSError as error:
        return command._describe(error)
    return None


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Flip one bit, flip sixteen, cut the end off, or zero a span."""
    made = bytearray(data)
    how = draw.choice(["flip", "flip", "flips", "cut", "zero"])
    if how in ("flip", "flips"):
        for _ in range(16 if how == "flips" else 1):
            made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del made[draw.randrange(len(made)) :]
    else:
        begin = draw.randrange(len(made))
        made[begin : begin + 512] = bytes(len(made[begin : begin + 512]))
    return bytes(made)


# Full disks


def mount(folder: Path, *options: str) -> None:
    """Mount on `folder`; skip where that is not permitted."""
    program = shutil.which("mount")
    if program is None or subprocess.run([program, *options, folder], capture_output=True).returncode:
        pytest.skip("mounting file systems is not permitted here")


@pytest.fixture
def disk(tmp_path):
    """An empty folder that is a disk of its own, of 64 MB until `resize` is called."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def used(disk: Path) -> int:
    return shutil.disk_usage(disk).used


def start_state(uninterrupted, stage, root):
    """A project on which the stages before `stage` have been run."""
    project = copy_inputs(uninterrupted, root)
    run_stages(project, STAGES[: STAGES.index(stage)])
    return project


def files_below(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def results(files):
    """Of files by name, those that are the same for equal runs: all but ledgers and locks."""
    return {name: data for name, data in files.items() if not name.startswith(("data/ledgers/", "data/locks/"))}


def assert_whole_files(project, whole, before):
    """Every manifest, clip and shard is as at the end of an undisturbed run, or as before; no temporary file is left."""
    for name, data in results(files_below(project.root)).items():
        assert data in (whole.get(name), before.get(name)), name
    assert not [name for name in temporary_files(project.root) if not name.endswith(("-wal", "-shm"))]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["trim", "resample", "resize", "merge", "split", "shard", "verify"])
def test_stage_on_a_full_disk_ends_with_one_line_and_continues_when_there_is_space(
    uninterrupted, disk, tmp_path, stage
):
    """The disk lacks from all to a tenth of what the stage writes."""
    start = start_state(uninterrupted, stage, tmp_path / "start")
    before = files_below(start.root)
    shutil.copytree(start.root, disk / "once")
    size = used(disk)
    run_stages(Project(disk / "once"), [stage])
    needed = used(disk) - size
    whole = files_below(disk / "once")
    shutil.rmtree(disk / "once")
    full = 0
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9):
        project = Project(disk / f"share{share}")
        shutil.copytree(start.root, project.root)
        resize(disk, used(disk) + int(needed * share) // 4096 * 4096)
        result = project.call(stage)
        resize(disk, 64 << 20)
        if result.returncode:
            full += 1
            assert "the disk is full; free some space and run the same command" in error_line(result)
        assert_whole_files(project, whole, before)
        run_stages(project, [stage])
        assert_same(results(files_below(project.root)), results(whole))
        assert not list(project.root.rglob("*.damaged"))
        shutil.rmtree(project.root)
    print(f"{stage}: {full} of 6 disks were full")
    assert full


@pytest.mark.slow
def test_download_from_a_mirror_on_a_full_disk_continues_when_there_is_space(disk, tmp_path):
    videos = video_ids("abcd")
    data = [write_video(tmp_path / f"{video}.mp4", frame_times(60, 10)).read_bytes() for video in videos]
    once = make_project(tmp_path / "once")
    mirror_kinetics(
        once,
        [(f"class {number % 2}", video, 0) for number, video in enumerate(videos)],
        [{"members": [(clip_member(video), content)]} for video, content in zip(videos, data, strict=True)],
        clips=4,
    )
    once.set(corpus="mirror", download__youtube=False)
    shutil.copytree(once.root, tmp_path / "start")
    run_stages(once, ["download"])
    needed = sum(path.stat().st_size for path in (once.root / "data").rglob("*") if path.is_file())
    full = 0
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        project = Project(disk / f"share{share}")
        shutil.copytree(tmp_path / "start", project.root)
        resize(disk, used(disk) + int(needed * share) // 4096 * 4096)
        result = project.call("download")
        resize(disk, 64 << 20)
        if result.returncode:
            full += 1
            assert "full" in error_line(result)
        run_stages(project, ["download"])
        assert project.manifest("download") == once.manifest("download")
        shutil.rmtree(project.root)
    print(f"download: {full} of 5 disks were full")
    assert full


@pytest.mark.slow
def test_checkpoint_on_a_full_disk_ends_training_with_one_line_and_continues(disk, tmp_path):
    toy.write_shards(tmp_path / "toy", toy.orbit_clips(classes=4, held_out=1, per_class=2))
    toy.write_params(tmp_path / "toy")
    root = disk / "toy"
    shutil.copytree(tmp_path / "toy", root)
    for free in (0, 8192, 65536):
        resize(disk, used(disk) + free)
        result = toy.run_python(root, "-m", "training", "pretrain")
        resize(disk, 64 << 20)
        assert "full" in error_line(result)
        assert not list(root.rglob("*.pt"))
    result = toy.run_python(root, "-m", "training", "pretrain")
    assert result.returncode == 0, result.stderr
    assert (root / "checkpoints/pretrain/model.pt").exists()


@pytest.mark.slow
def test_cache_of_dvc_on_a_full_disk_ends_repro_and_a_rerun_completes(uninterrupted, disk, tmp_path):
    project = with_dvc(copy_inputs(uninterrupted, tmp_path / "project"))
    (disk / "cache").mkdir()
    config = project.root / ".dvc/config"
    config.write_text(config.read_text().replace("[cache]", f"[cache]\n    dir = {disk / 'cache'}"))
    resize(disk, 4096)
    for complete in (False, True):
        process = start_dvc(project, "repro", "resize", env={})
        _, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        if not complete:
            assert process.returncode != 0
            assert "No space left" in err
            resize(disk, 64 << 20)
    assert process.returncode == 0, err
    for name in ("download", "trim", "resample", "resize"):
        assert project.manifest(name) == uninterrupted.manifest(name)


# Read-only folders


@pytest.mark.parametrize(
    ("folder", "stage"),
    first_fast(
        *(("data", "trim"), ("data/ledgers", "resample"), ("data/filmstrips", "resize"), ("manifests", "merge")),
        *(("data/shards", "shard"), ("metrics", "verify")),
    ),
)
def test_read_only_folder_is_named_in_one_line(uninterrupted, finished, folder, stage):
    path = finished.root / folder
    if folder == "data/filmstrips":
        next(path.rglob("*.jpg")).unlink()
    mount(path, "--bind", str(path))
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
        line = error_line(finished.call(stage))
        assert folder in line
        assert "Read-only" in line or "writable" in line
    finally:
        subprocess.run(["umount", path], check=True)
    run_stages(finished, STAGES)
    assert_same(outputs(finished), outputs(uninterrupted))


# Clocks

CLOCK = """
import os, time
_shift, _time, _time_ns = float(os.environ["CLOCK_SHIFT"]), time.time, time.time_ns
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + int(_shift * 1e9)
"""
YEARS = 365 * 86400


@pytest.mark.slow
def test_clock_that_is_set_far_forward_and_back_changes_nothing(uninterrupted, fresh, tmp_path):
    """Half of the sources are from 1970, half from the year 2100; each run is in another time."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(CLOCK)
    for number, path in enumerate(sorted((fresh.root / "clips").rglob("*.mp4"))):
        os.utime(path, (1, 1) if number % 2 else (4102444800, 4102444800))
    files = None
    for shift in (50 * YEARS, -30 * YEARS, 86400):
        env = {"CLOCK_SHIFT": str(shift), "PYTHONPATH": f"{tmp_path / 'clock'}:{REPO}"}
        for stage in STAGES:
            process = fresh.popen(stage, env=env)
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        assert_same(outputs(fresh), outputs(uninterrupted))
        work = [path for name in ("trimmed", "filmstrips") for path in (fresh.root / "data" / name).rglob("*.*")]
        times = {path: path.stat().st_mtime_ns for path in work}
        assert files in (None, times)  # no clip is done again
        files = times


@pytest.mark.parametrize("moment", first_fast(1, 4102444800))  # 1970, 2100
def test_modification_times_of_outputs_decide_nothing(uninterrupted, finished, moment):
    for path in finished.root.rglob("*"):
        if path.is_file() and "ledgers" not in path.parts:
            os.utime(path, (moment, moment))
    strips = {path: path.stat().st_mtime_ns for path in (finished.root / "data/filmstrips").rglob("*.jpg")}
    run_stages(finished, STAGES)
    assert_same(outputs(finished), outputs(uninterrupted))
    assert strips == {path: path.stat().st_mtime_ns for path in strips}


# Files that change under way


def replaced(path):
    write_video(path, frame_times(45, 10), gop=3)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def grown(path):
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", first_fast(replaced, truncated, grown))
@pytest.mark.parametrize("stage", first_fast("resize", "trim", "resample"))
def test_source_that_changes_between_stages_is_named_with_the_command_to_run(fresh, stage, change):
    run_stages(fresh, STAGES[: STAGES.index(stage)])
    path = fresh.root / "clips/class1/5.mp4"
    change(path)
    recorded = "download" if stage == "trim" else "trim"
    line = run_or_describe(fresh, stage)
    assert f"clips/class1/5.mp4 of clip own-class1-5 has {path.stat().st_size:,} bytes" in line
    assert f"python -m pipeline {recorded}" in line


@pytest.mark.slow
def test_source_that_changed_is_processed_anew_from_download_on(uninterrupted, fresh):
    run_stages(fresh, STAGES[:3])
    replaced(fresh.root / "clips/class1/5.mp4")
    run_stages(fresh, STAGES)
    assert fresh.rows("shards")["own-class1-5"]["valid_frames"] == 45
    shutil.copy(uninterrupted.root / "clips/class1/5.mp4", fresh.root / "clips/class1/5.mp4")
    run_stages(fresh, STAGES)
    assert_same(outputs(fresh), outputs(uninterrupted))


def test_source_of_the_same_size_and_time_is_found_by_nothing_but_a_new_ledger(fresh):
    """What a file system does not show is not noticed; docs/reliability.md has the remedy."""
    run_stages(fresh, ["download"])
    path, times = fresh.root / "clips/class1/5.mp4", (fresh.root / "clips/class1/5.mp4").stat()
    before = fresh.rows("download")["own-class1-5"]["sha256"]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    run_stages(fresh, ["download"])
    assert fresh.rows("download")["own-class1-5"]["sha256"] == before
    (fresh.root / "data/ledgers/download.sqlite").unlink()
    run_stages(fresh, ["download"])
    assert fresh.rows("download")["own-class1-5"]["sha256"] != before


@pytest.mark.slow
def test_changed_list_of_windows_redoes_what_it_changes(uninterrupted, finished):
    windows = finished.root / "clips/windows.csv"
    original = windows.read_text()
    windows.write_text(original.replace("3,5", "3,4.5"))
    run_stages(finished, STAGES)
    assert {row["valid_frames"] for name, row in finished.rows("shards").items() if "long" in name} == {15}
    windows.write_text(original)
    run_stages(finished, STAGES)
    assert_same(outputs(finished), outputs(uninterrupted))


def test_altered_cut_or_filmstrip_of_the_same_size_is_named(uninterrupted, finished):
    """Digests of filmstrips are compared by shard; a cut is read by resample and resize alone, and then no longer needed."""
    path = finished.root / "data/filmstrips/own/own-class1-5.jpg"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "own-class1-5 has changed since resize wrote it: delete it" in run_or_describe(finished, "shard")
    path.unlink()
    run_stages(finished, ["resize", "shard", "verify"])
    assert_same(outputs(finished), outputs(uninterrupted))


# Ledgers


def mutated_ledgers(finished, count):
    """Load every ledger after each of `count` mutations; a line is right or left out, so that its clip is done again."""
    kinds = {kind.MANIFEST: kind for kind in ROW_TYPES if kind.MANIFEST in LEDGERS}
    found = Counter()
    for name in LEDGERS:
        path = Path(f"data/ledgers/{name}.sqlite")
        original = path.read_bytes()
        with Ledger(name, kinds[name]) as ledger:
            truth = ledger.load()
        for number in range(count):
            for old in path.parent.glob(f"{name}.sqlite*"):
                old.unlink()
            path.write_bytes(mutate(original, random.Random(f"{name} {number}")))
            with Ledger(name, kinds[name]) as ledger:
                kept = ledger.load()
                assert all(kept[clip_id] == truth[clip_id] for clip_id in kept)
                for clip_id in truth.keys() - kept.keys():  # as the stage does
                    ledger[clip_id] = truth[clip_id]
                assert ledger.load() == truth
            found["all lines kept" if kept == truth else "some kept" if kept else "none kept"] += 1
        for old in path.parent.glob(f"{name}.sqlite*"):
            old.unlink()
        path.write_bytes(original)
    return found


def test_damaged_ledgers_lose_lines_and_change_none(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    assert mutated_ledgers(finished, 20).total() == 60


@pytest.mark.slow
def test_many_damaged_ledgers_lose_lines_and_change_none(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    print("ledgers:", mutated_ledgers(finished, 200))


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"SQLite format 3\0", None], ids=["empty", "zeros", "head", "cut"]
)
def test_stages_after_a_lost_ledger_end_with_the_same_bytes(uninterrupted, finished, content):
    for name in ("download", "trim"):
        path = finished.root / f"data/ledgers/{name}.sqlite"
        path.write_bytes(path.read_bytes()[:6000] if content is None else content)
    run_stages(finished, STAGES)
    assert_same(outputs(finished), outputs(uninterrupted))


@pytest.mark.slow
def test_stages_after_random_damage_to_all_ledgers_end_with_the_same_bytes(uninterrupted, finished):
    for number in range(10):
        for path in (finished.root / "data/ledgers").glob("*.sqlite"):
            path.write_bytes(mutate(path.read_bytes(), random.Random(f"{path.name} {number}")))
        run_stages(finished, STAGES)
        assert_same(outputs(finished), outputs(uninterrupted))


def test_ledger_of_another_table_is_emptied(uninterrupted, finished):
    path = finished.root / "data/ledgers/trim.sqlite"
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE clips (clip_id TEXT, other BLOB)")
    db.close()
    run_stages(finished, ["trim"])
    assert finished.manifest("trim") == uninterrupted.manifest("trim")


# Manifests


def mutated_manifests(count):
    """Read every manifest after each of `count` mutations; all that differ from what was written are refused."""
    found = Counter()
    for kind in ROW_TYPES:
        path = manifests.path_of(kind)
        original = path.read_bytes()
        for number in range(count):
            data = mutate(original, random.Random(f"{kind.MANIFEST} {number}"))
            path.write_bytes(data)
            damage = manifests.damage(kind)
            assert (damage is None) == (data == original)
            assert damage is None or damage.startswith(f"{path} has changed since it was written: delete it and run")
            found["refused" if damage else "unchanged"] += 1
        path.write_bytes(original)
    return found


def test_damaged_manifests_are_refused(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    assert mutated_manifests(20).total() == 180


@pytest.mark.slow
def test_many_damaged_manifests_are_refused(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    print("manifests:", mutated_manifests(200))


@pytest.mark.slow
def test_damaged_manifests_without_a_record_are_never_a_traceback(finished, monkeypatch):
    """A dataset that was copied from elsewhere: what cannot be read is one line; values that changed are not found here."""
    monkeypatch.chdir(finished.root)
    found = Counter()
    for kind in ROW_TYPES:
        path = manifests.path_of(kind)
        original, truth = path.read_bytes(), manifests.read(kind)
        Path(f"data/ledgers/{kind.MANIFEST}.sha256").unlink()
        for number in range(200):
            path.write_bytes(mutate(original, random.Random(f"{kind.MANIFEST} {number}")))
            try:
                found["the same rows" if manifests.read(kind) == truth else "other rows"] += 1
            except WorkError as error:
                found["refused" if len(str(error).splitlines()) == 1 else "several lines"] += 1
        path.write_bytes(original)
    print("manifests without a record:", found)
    assert "several lines" not in found


@pytest.mark.parametrize(
    ("name", "producer", "reader"),
    first_fast(
        *(("clips", "merge", "split"), ("classes", "merge", "split"), ("splits", "split", "shard")),
        *(("download", "download", "trim"), ("trim", "trim", "resample"), ("resize", "resize", "merge")),
        ("shards", "shard", "verify"),
    ),
)
def test_damaged_manifest_stops_its_reader_and_is_repaired_by_its_stage(
    uninterrupted, finished, name, producer, reader
):
    path = finished.root / f"manifests/{name}.parquet"
    original = path.read_bytes()
    flipped = bytearray(original)
    flipped[len(flipped) // 2] ^= 4
    other = "classes" if name != "classes" else "splits"
    for content in (bytes(flipped), b"", original[:-9], uninterrupted.manifest(other)):
        path.write_bytes(content)
        assert f"manifests/{name}.parquet has changed since it was written" in run_or_describe(finished, reader)
    path.unlink()
    path.mkdir()
    assert f"manifests/{name}.parquet is a folder: delete it" in run_or_describe(finished, reader)
    path.rmdir()
    path.write_bytes(flipped)
    run_stages(finished, [producer])
    assert path.read_bytes() == original


# Filmstrips and shards


@pytest.mark.parametrize(
    "damage", first_fast(lambda data: data[:-1], lambda data: b"", lambda data: bytes(len(data)), None)
)
def test_damaged_filmstrip_is_made_again_or_named(uninterrupted, finished, damage):
    path = finished.root / "data/filmstrips/own/own-class2-2.jpg"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    line = run_or_describe(finished, "shard")
    assert "own-class2-2" in line
    if "delete it" in line:
        path.unlink(missing_ok=True)
    run_stages(finished, ["resize", "shard", "verify"])
    assert_same(outputs(finished), outputs(uninterrupted))


def shard_task(path):
    """A shard as verify checks it, and the shape of its filmstrips."""
    clips = {row.clip_id: row for row in manifests.read(CompositeRow)}
    shards = verify._by_shard(manifests.read(ShardRow), clips, 10)
    return next(shard for shard in shards if shard.path == path), verify.FilmstripShape(100, 64)


def flipped_shards(count):
    """Flip a random bit of a shard `count` times; counts by part of the tar, all of which verify finds."""
    path = sorted(Path("data/shards").glob("train-*.tar"))[0]
    original = path.read_bytes()
    task, shape = shard_task(path.as_posix())
    assert not verify.check_shard(task, shape).problems
    with tarfile.open(path) as tar:
        payloads = [(member.offset_data, member.size, member.name) for member in tar]
    rows = {row.offset: row for row in task.rows}
    draw, found = random.Random(0), Counter()
    for number in range(count):
        data = bytearray(original)
        # Payloads are most of a tar: every second flip is in a header or in padding.
        at = draw.randrange(len(data))
        while number % 2 and any(start <= at < start + size for start, size, _ in payloads):
            at = draw.randrange(len(data))
        data[at] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        problems = verify.check_shard(task, shape).problems
        assert problems, f"a flip at byte {at} is not found"
        inside = next((start for start, size, _ in payloads if start <= at < start + size), None)
        found["payload" if inside is not None else "header or padding"] += 1
        damaged = [] if inside not in rows else [rows[inside].clip_id]
        assert unreadable_clips() == damaged
        assert all(clip_id in problems[0] for clip_id in damaged)
    path.write_bytes(original)
    return found


def unreadable_clips():
    """Clips that training does not read, each named by its error."""
    clips, found = Clips(), []
    for row in clips.rows:
        try:
            clips.frames(row.clip_id)
        except WorkError as error:
            found += [row.clip_id] if f"holds no filmstrip of {row.clip_id} at byte" in str(error) else [str(error)]
    return found


def test_flipped_bits_of_a_shard_are_found_by_verify_and_by_training(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    assert flipped_shards(20).total() == 20


@pytest.mark.slow
def test_many_flipped_bits_of_a_shard_are_found_by_verify_and_by_training(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    print("shards:", flipped_shards(300))


def truncate_shard(path, other):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero_shard(path, other):
    path.write_bytes(bytes(path.stat().st_size))


def remove_shard(path, other):
    path.unlink()


def swap_shards(path, other):
    data = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)


@pytest.mark.parametrize("damage", first_fast(swap_shards, truncate_shard, zero_shard, remove_shard))
def test_damaged_shard_is_found_by_verify_and_training_and_written_again(uninterrupted, finished, monkeypatch, damage):
    monkeypatch.chdir(finished.root)
    train, test = (sorted(Path("data/shards").glob(f"{split}-*.tar"))[0] for split in ("train", "test"))
    damage(train, test)
    assert (test if damage is swap_shards else train).name in run_or_describe(finished, "verify")
    clips = Clips()
    last = max((row for row in clips.rows if row.shard == train.as_posix()), key=lambda row: row.offset)
    with pytest.raises(WorkError, match=train.name):
        clips[last.clip_id]
    run_stages(finished, ["shard", "verify"])
    assert_same(outputs(finished), outputs(uninterrupted))


def test_damaged_shards_manifest_stops_verify_and_training(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    path = manifests.path_of(ShardRow)
    original = path.read_bytes()
    for number in range(20):
        path.write_bytes(mutate(original, random.Random(number)))
        if path.read_bytes() == original:
            continue
        assert "has changed since it was written" in run_or_describe(finished, "verify")
        with pytest.raises(WorkError, match=r"shards\.parquet has changed since it was written"):
            Clips()
