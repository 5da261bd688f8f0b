"""A dataset that grows and shrinks: with `split.freeze`, only shards that must change do, and splits and ids stay."""

import dataclasses
import hashlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from common.errors import WorkError
from pipeline.composite.layout import Member
from pipeline.composite.tars import describe, describe_equal
from pipeline.records import manifests
from pipeline.records.rows import CompositeRow, DownloadRow
from tests.pipeline.conftest import STAGES
from tests.pipeline.draw import frame_times, write_video
from tests.reliability.runs import outputs, run_stages, start_dvc, wait_for, with_dvc

MERGE = STAGES[STAGES.index("merge") :]
STAGED = "data/shards/.new-unfinished"


@pytest.fixture
def frozen(dataset_copy):
    """The dataset of twelve clips in three classes and four shards, with `split.freeze`."""
    return dataset_copy.set(split__freeze=True)


def tars(project):
    """The digest and time of change of every shard, by name."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted((project.root / "data/shards").glob("*.tar"))
    }


def places(project):
    """Class id, split, shard and offset of every clip."""
    names = ("class_id", "split", "shard", "offset", "sha256")
    return {clip_id: tuple(row[name] for name in names) for clip_id, row in project.rows("shards").items()}


def add_clips(project):
    """Two more clips of `class 0`, and a source of two classes with three clips each."""
    for number in (20, 21):
        write_video(project.root / f"clips/class 0/{number}.mp4", frame_times(20 + number, 10))
    for number in range(6):
        write_video(project.root / f"more/new {number % 2}/{number}.mp4", frame_times(50 + number, 10))
    own, more = {"kind": "folder", "root": "clips"}, {"kind": "folder", "root": "more"}
    project.set(sources={"added": more, "own": own})


def exclude(project, *clip_ids):
    """Make manifests/excluded.csv a list of these clips."""
    text = "".join(f"{clip_id},asked for by its author\n" for clip_id in clip_ids)
    (project.root / "manifests/excluded.csv").write_text(f"clip_id,reason\n{text}")


def assert_index_is_right(project):
    """shards.parquet gives the filmstrip of every clip, byte for byte."""
    for clip_id, (*_, shard, offset, sha256) in places(project).items():
        length = project.rows("shards")[clip_id]["length"]
        with (project.root / shard).open("rb") as file:
            file.seek(offset)
            assert hashlib.sha256(file.read(length)).hexdigest() == sha256, clip_id


def id_of(project, path):
    """The clip of a file below the project folder."""
    return next(clip_id for clip_id, row in project.rows("download").items() if row["path"] == path)


# Adding


def test_nothing_new_changes_no_shard_and_no_manifest(frozen, capsys):
    before, times = outputs(frozen), tars(frozen)
    frozen.run(*MERGE)
    assert tars(frozen) == times
    after = outputs(frozen)
    crate = "ro-crate-metadata.json"  # which has the param
    assert {name for name in before if after[name] != before[name]} == {crate}
    assert "shard: 3 shards are kept, 0 are rewritten, 0 are new\n" in capsys.readouterr().out


def test_a_source_and_new_clips_are_appended(frozen, capsys):
    before, times, splits = places(frozen), tars(frozen), frozen.manifest("splits")
    add_clips(frozen)
    frozen.run(*STAGES)
    after = places(frozen)
    assert {clip_id: after[clip_id] for clip_id in before} == before
    assert {name: tars(frozen)[name] for name in times} == times
    new = {clip_id: place for clip_id, place in after.items() if clip_id not in before}
    assert len(new) == 8
    assert {Path(shard).name for _, _, shard, *_ in new.values()} == tars(frozen).keys() - times.keys()
    assert {class_id for clip_id, (class_id, *_) in new.items() if clip_id.startswith("added")} == {3, 4}
    assert splits != frozen.manifest("splits")
    names = {row["class_name"]: row["split"] for row in frozen.rows("shards").values()}
    assert all(names[row["class_name"]] == row["split"] for row in frozen.rows("shards").values())
    printed = capsys.readouterr().out
    assert "split: 3 classes keep their split, 2 are assigned\n" in printed
    assert "shard: 3 shards are kept, 0 are rewritten" in printed
    assert "20 clips in" in printed.partition("verify:")[2]


@pytest.mark.slow
def test_the_same_additions_give_the_same_bytes_for_any_number_of_workers(frozen, tmp_path):
    shutil.copytree(frozen.root, tmp_path / "other")
    other = type(frozen)(tmp_path / "other").set(engine__workers=2)
    for project in (frozen, other):
        add_clips(project)
        run_stages(project, STAGES)
    one, two = outputs(frozen), outputs(other)
    assert one == two


@pytest.mark.slow
def test_adding_twice_goes_on_from_the_first_time(frozen):
    add_clips(frozen)
    frozen.run(*STAGES)
    before, times = places(frozen), tars(frozen)
    write_video(frozen.root / "more/new 1/9.mp4", frame_times(70, 10))
    frozen.run(*STAGES)
    assert {clip_id: place for clip_id, place in places(frozen).items() if clip_id in before} == before
    assert {name: tars(frozen)[name] for name in times} == times
    assert len(tars(frozen)) == len(times) + 1


def test_a_new_copy_of_an_old_clip_does_not_displace_it(frozen):
    """Its source comes first, so that without `split.freeze` it would be the one that stays."""
    times = tars(frozen)
    (frozen.root / "more/class 1").mkdir(parents=True)
    shutil.copy(frozen.root / "clips/class 0/0.mp4", frozen.root / "more/class 1/copy.mp4")
    frozen.set(sources={"added": {"kind": "folder", "root": "more"}, "own": {"kind": "folder", "root": "clips"}})
    frozen.run(*STAGES)
    assert tars(frozen) == times
    assert frozen.rows("clips")[id_of(frozen, "more/class 1/copy.mp4")]["error"] == "conflicting_label"


def test_without_shards_to_keep_the_result_is_that_of_a_build_without_freeze(dataset, frozen):
    """As after `rm manifests/shards.parquet`, which packs all clips anew."""
    (frozen.root / "manifests/shards.parquet").unlink()
    frozen.run("shard", "verify")
    assert frozen.manifest("shards") == dataset.manifest("shards")
    assert {name: digest for name, (digest, _) in tars(frozen).items()} == {
        name: digest for name, (digest, _) in tars(dataset).items()
    }


def test_a_changed_clip_leaves_its_shard_and_is_appended(frozen):
    clip_id = id_of(frozen, "clips/class 0/3.mp4")
    before, times = places(frozen), tars(frozen)
    write_video(frozen.root / "clips/class 0/3.mp4", frame_times(64, 10))
    frozen.run(*STAGES)
    after, old = places(frozen), Path(before[clip_id][2]).name
    assert Path(after[clip_id][2]).name not in times
    assert {name for name in times if tars(frozen)[name] != times[name]} == {old}


# Removing


def test_excluded_clips_change_only_the_shards_that_hold_them(frozen, capsys):
    before, times = places(frozen), tars(frozen)
    shard = max(before.values(), key=lambda place: (list(before.values()).count(place), place[2]))[2]
    gone = [clip_id for clip_id, place in before.items() if place[2] == shard][:2]
    exclude(frozen, *gone)
    frozen.run(*MERGE, "stats")
    after = places(frozen)
    assert after.keys() == before.keys() - set(gone)
    assert {name for name in times if tars(frozen).get(name) != times[name]} == {Path(shard).name}
    assert {clip_id: place[:3] for clip_id, place in after.items()} == {c: before[c][:3] for c in after}
    assert [c for c in sorted(after, key=lambda c: after[c][3]) if after[c][2] == shard] == [
        c for c in sorted(before, key=lambda c: before[c][3]) if before[c][2] == shard and c not in gone
    ]
    for clip_id in gone:
        row = frozen.rows("clips")[clip_id]
        assert (row["status"], row["error"], row["error_detail"]) == ("failed", "excluded", "asked for by its author")
        assert row["path"] is None
    assert '"excluded": 2' in (frozen.root / "metrics/dataset.json").read_text()
    assert "      2  merge     own          excluded" in capsys.readouterr().out


def test_a_clip_that_is_excluded_no_longer_is_appended(frozen):
    clip_id, (_, split, shard, *_) = next(iter(places(frozen).items()))
    exclude(frozen, clip_id)
    frozen.run(*MERGE)
    exclude(frozen)
    times = tars(frozen)
    frozen.run(*MERGE)
    found = places(frozen)[clip_id]
    assert found[1] == split
    assert found[2] != shard
    assert {name: tars(frozen)[name] for name in times} == times


def test_a_shard_whose_clips_are_all_excluded_is_removed(frozen):
    times, before = tars(frozen), places(frozen)
    shard = max(place[2] for place in before.values())
    exclude(frozen, *(clip_id for clip_id, place in before.items() if place[2] == shard))
    frozen.run(*MERGE)
    assert tars(frozen) == {name: value for name, value in times.items() if name != Path(shard).name}


def test_a_spare_replaces_an_excluded_clip_in_a_shard_of_its_own(frozen):
    rows = [dataclasses.replace(row, quota=3) for row in manifests.read(DownloadRow)]
    manifests.write(DownloadRow, rows)
    frozen.run(*MERGE)
    before, times = places(frozen), tars(frozen)
    clips = frozen.rows("clips")
    assert sum(row["status"] == "spare" for row in clips.values()) == 3
    gone = next(iter(before))
    spare = next(
        clip_id
        for clip_id, row in clips.items()
        if (row["status"], row["class_id"]) == ("spare", clips[gone]["class_id"])
    )
    exclude(frozen, gone)
    frozen.run(*MERGE)
    assert places(frozen).keys() == before.keys() - {gone} | {spare}
    assert {name for name in times if tars(frozen)[name] != times[name]} == {Path(before[gone][2]).name}
    assert list(tars(frozen).keys() - times.keys()) == [Path(places(frozen)[spare][2]).name]


def test_excluded_clips_are_left_out_without_freeze_too(dataset_copy):
    gone = next(iter(places(dataset_copy)))
    exclude(dataset_copy, gone)
    dataset_copy.run(*MERGE)
    assert gone not in places(dataset_copy)
    assert len(places(dataset_copy)) == 11


def test_verify_names_an_excluded_clip_that_is_still_in_a_shard(dataset_copy):
    gone = next(iter(places(dataset_copy)))
    exclude(dataset_copy, gone)
    with pytest.raises(WorkError, match=f"{gone} is in manifests/excluded.csv, and still in a shard: run `dvc repro`"):
        dataset_copy.run("verify")


def test_a_class_that_has_gone_keeps_its_id_and_split_for_its_return(frozen):
    before, splits = places(frozen), frozen.manifest("splits")
    rows = frozen.rows("shards")
    name = next(row["class_name"] for row in rows.values() if row["split"] == "train")
    shutil.move(frozen.root / "clips" / name, frozen.root / "away")
    frozen.run(*STAGES)
    rest = {clip_id: place[:3] for clip_id, place in places(frozen).items()}
    assert rest == {clip_id: place[:3] for clip_id, place in before.items() if rows[clip_id]["class_name"] != name}
    shutil.move(frozen.root / "away", frozen.root / "clips" / name)
    frozen.run(*STAGES)
    assert frozen.manifest("splits") == splits
    assert {clip_id: place[:2] for clip_id, place in places(frozen).items()} == {c: p[:2] for c, p in before.items()}


# The list of excluded clips


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_id\n", "manifests/excluded.csv: its first line must be clip_id,reason"),
        ("clip_id,reason\nown-a\n", "manifests/excluded.csv, line 2: must be a clip_id and a reason"),
        ("clip_id,reason\na,b\na,c\n", "manifests/excluded.csv, line 3: a is excluded by line 2 already"),
    ],
)
def test_broken_list_ends_merge_with_one_line_and_no_change(dataset_copy, text, message):
    before = outputs(dataset_copy)
    (dataset_copy.root / "manifests/excluded.csv").write_text(text)
    result = dataset_copy.call("merge")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [result.stderr.strip()]
    assert message in result.stderr
    assert outputs(dataset_copy) == before


def test_unknown_clips_are_a_warning(dataset_copy):
    before = outputs(dataset_copy)
    exclude(dataset_copy, "k400-unknown", "own-unknown")
    result = dataset_copy.call("merge")
    assert result.returncode == 0
    assert result.stderr == (
        "warning: manifests/excluded.csv, line 2: no source has a clip k400-unknown (and 1 more)\n"
    )
    assert outputs(dataset_copy) == before


def test_a_copy_that_takes_the_place_of_an_excluded_clip_is_named(dataset_copy, capsys):
    folder = dataset_copy.root / "clips/class 0"
    shutil.copy(folder / "0.mp4", folder / "copy.mp4")
    dataset_copy.run(*STAGES[:-1])
    both = {id_of(dataset_copy, f"clips/class 0/{name}.mp4") for name in ("0", "copy")}
    (kept,) = both & places(dataset_copy).keys()
    (other,) = both - {kept}
    exclude(dataset_copy, kept)
    dataset_copy.run("merge")
    assert f"merge: {other} has the same pictures as {kept}, which is excluded, and is in its place" in (
        capsys.readouterr().out
    )


# Interruptions


def block(project, clip_id):
    """Make the reader of a clip's filmstrip wait forever; returns the filmstrip's path and content."""
    path = project.root / project.rows("resize")[clip_id]["path"]
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    return path, content


def grown_and_shrunk(project):
    """Clips are added, and one is excluded from each shard, so that two stages are left: shard and verify."""
    by_shard = {place[2]: clip_id for clip_id, place in places(project).items()}
    exclude(project, *by_shard.values())
    add_clips(project)
    run_stages(project, STAGES[: STAGES.index("shard")])


@pytest.mark.slow
def test_kill_9_between_shards_leaves_the_old_shards_and_a_rerun_completes(frozen, tmp_path):
    grown_and_shrunk(frozen)
    shutil.copytree(frozen.root, tmp_path / "once")
    once = type(frozen)(tmp_path / "once")
    run_stages(once, ["shard", "verify"])
    before, index = tars(frozen), frozen.manifest("shards")

    # The smallest of the tars to write is the last one, and no clip of it is ever read.
    new = [row for row in once.rows("shards").values() if Path(row["shard"]).name not in before]
    sizes = [row["shard"] for row in new]
    last = min(new, key=lambda row: (sizes.count(row["shard"]), row["shard"]))
    path, content = block(frozen, last["clip_id"])
    process = frozen.popen("shard", start_new_session=True)
    assert wait_for(lambda: len(list((frozen.root / STAGED).glob("*.tar"))) > 2 or process.poll() is not None)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)

    assert tars(frozen) == before
    assert frozen.manifest("shards") == index
    assert_index_is_right(frozen)
    path.unlink()
    path.write_bytes(content)
    run_stages(frozen, ["shard", "verify"])
    assert outputs(frozen) == outputs(once)
    assert not (frozen.root / STAGED).exists()
    assert not list(frozen.root.rglob(".part-*"))


@pytest.mark.slow
def test_shard_killed_at_any_time_ends_with_the_same_bytes_when_rerun(frozen, tmp_path):
    grown_and_shrunk(frozen)
    shutil.copytree(frozen.root, tmp_path / "once")
    once, start = type(frozen)(tmp_path / "once"), time.monotonic()
    assert once.popen("shard").wait(120) == 0
    seconds = time.monotonic() - start
    run_stages(once, ["verify"])
    for share in (0.5, 0.7, 0.8, 0.9):
        process = frozen.popen("shard", start_new_session=True)
        wait_for(lambda process=process: process.poll() is not None, share * seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    run_stages(frozen, ["shard", "verify"])
    assert outputs(frozen) == outputs(once)


def test_tars_that_an_interrupted_run_has_left_are_not_used_for_other_clips(frozen):
    """They are complete tars of the clips before one was excluded, beside the shard to write and beside those to keep."""
    times, before = tars(frozen), places(frozen)
    staged = frozen.root / STAGED
    staged.mkdir()
    for name in times:
        shutil.copy(frozen.root / "data/shards" / name, staged / name)
    gone = next(iter(before))
    exclude(frozen, gone)
    run_stages(frozen, MERGE)
    assert places(frozen).keys() == before.keys() - {gone}
    assert {name for name in times if tars(frozen)[name] != times[name]} == {Path(before[gone][2]).name}
    assert not staged.exists()


def test_damaged_and_missing_shards_are_written_again_and_the_others_are_kept(frozen):
    times = tars(frozen)
    damaged, missing, kept = (frozen.root / "data/shards" / name for name in times)
    data = bytearray(damaged.read_bytes())
    data[2000] ^= 1
    damaged.write_bytes(data)
    missing.unlink()
    frozen.run("shard", "verify")
    after = tars(frozen)
    assert {name: digest for name, (digest, _) in after.items()} == {n: digest for n, (digest, _) in times.items()}
    assert after[kept.name] == times[kept.name]


@pytest.fixture
def first_tar(dataset, tmp_path):
    """A copy of a shard, its clips, and the rows of shards.parquet for them."""
    rows = sorted(dataset.rows("shards").values(), key=lambda row: (row["shard"], row["offset"]))
    rows = [row for row in rows if row["shard"] == rows[0]["shard"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(dataset.root)
        clips = {row.clip_id: row for row in manifests.read(CompositeRow)}
    path = Path(shutil.copy(dataset.root / rows[0]["shard"], tmp_path))
    return path, [Member(clips[row["clip_id"]], row["split"]) for row in rows], rows


def test_a_tar_that_is_as_it_would_be_written_is_described(first_tar):
    path, members, rows = first_tar
    found = describe_equal(path, members, 10)
    assert found == describe(path, members)
    assert [(place.offset, place.length) for place in found.places] == [(row["offset"], row["length"]) for row in rows]
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_tar_of_other_clips_is_not_described(first_tar):
    path, members, _ = first_tar
    other = dataclasses.replace(members[0], clip=dataclasses.replace(members[0].clip, class_id=7))
    assert describe_equal(path, members, 25) is None
    assert describe_equal(path, members[:-1], 10) is None
    assert describe_equal(path, members[::-1], 10) is None
    assert describe_equal(path, [other, *members[1:]], 10) is None
    assert describe_equal(path, [*members, other], 10) is None


@pytest.mark.parametrize(
    "what", ["picture", "mode in a header", "padding", "cut short", "longer", "empty", "text", "none"]
)
def test_a_damaged_tar_is_not_described(first_tar, what):
    path, members, rows = first_tar
    data = bytearray(path.read_bytes())
    place = {"picture": 2000, "mode in a header": 105, "padding": rows[0]["offset"] + rows[0]["length"]}.get(what)
    if place is not None:
        data[place] ^= 1
    changed = {"cut short": data[:-3000], "longer": data + bytes(10240), "empty": b"", "text": b"no tar" * 1000}
    path.write_bytes(changed.get(what, data))
    if what == "none":
        path.unlink()
    assert describe_equal(path, members, 10) is None


# With DVC


def repro(project):
    """Run `dvc repro verify`; the stages that ran."""
    process = start_dvc(project, "repro", "verify", env={})
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    return [line.split("'")[1] for line in out.splitlines() if line.startswith("Running stage")]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_dvc_reruns_what_the_list_of_excluded_clips_decides(project):
    for number in range(12):
        write_video(project.root / f"clips/class {number % 3}/{number}.mp4", frame_times(20 + number, 10))
    with_dvc(project.set(shard__max_clips=4, split__freeze=True))
    assert repro(project) == list(STAGES)
    before, first = tars(project), places(project)
    gone = next(iter(first))
    exclude(project, gone)
    assert repro(project) == list(MERGE)
    assert {name for name in before if tars(project)[name][0] != before[name][0]} == {Path(first[gone][2]).name}
    add_clips(project)
    assert repro(project) == list(STAGES)
    assert {c: p[:3] for c, p in places(project).items() if c in first} == {
        c: p[:3] for c, p in first.items() if c != gone
    }
