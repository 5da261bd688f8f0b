"""export: every format holds the shards' clips, read back by its own tool; damage, other folders and larger sizes are refused."""

import hashlib
import json
import shutil
import sys

import cv2
import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from common.errors import ParamError, WorkError
from pipeline.tools import export
from pipeline.tools.export import videos
from pipeline.tools.export.clips import COLUMNS
from tests.conftest import make_project
from tests.pipeline.conftest import STAGES
from tests.pipeline.draw import frame_times, read_counters, write_video


@pytest.fixture
def project(dataset, monkeypatch):
    monkeypatch.chdir(dataset.root)
    return dataset


def strips(project):
    """The filmstrip of each clip as resize wrote it, by clip_id."""
    return {clip_id: (project.root / row["path"]).read_bytes() for clip_id, row in project.rows("resize").items()}


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB).reshape(100, 64, 64, 3)


def index(folder):
    return {row["clip_id"]: row for row in pq.read_table(folder / "index.parquet").to_pylist()}


def files(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


# Payloads


def test_parquet_has_the_very_bytes_of_the_filmstrips_and_the_rows(project, tmp_path):
    export.main("parquet", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out/data").to_pylist()
    expected, shards = strips(project), project.rows("shards")
    assert {row["clip_id"]: row["filmstrip"]["bytes"] for row in rows} == expected
    for row in rows:
        assert {name: row[name] for name in COLUMN_NAMES} == {n: shards[row["clip_id"]][n] for n in COLUMN_NAMES}


COLUMN_NAMES = [field.name for field in COLUMNS]


def test_numpy_arrays_are_the_decoded_filmstrips_by_memory_map(project, tmp_path):
    export.main("numpy", tmp_path / "out")
    expected = strips(project)
    for clip_id, row in index(tmp_path / "out").items():
        array = np.load(tmp_path / "out" / row["file"], mmap_mode="r")
        assert isinstance(array, np.memmap)
        assert np.array_equal(array[row["position"]], decoded(expected[clip_id]))


def test_videos_show_the_drawn_counter_of_each_of_the_clips_own_frames(project, tmp_path):
    export.main("mp4", tmp_path / "out", split="test")
    rows = index(tmp_path / "out")
    assert {row["split"] for row in rows.values()} == {"test"}
    for row in rows.values():
        pictures = videos.decode(tmp_path / "out" / row["file"])
        assert pictures.shape == (row["valid_frames"], 64, 64, 3)
        assert read_counters(pictures) == list(range(row["valid_frames"]))
        capture = cv2.VideoCapture(str(tmp_path / "out" / row["file"]))
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_fiftyone_labels_each_video_with_its_class_over_its_frames(project, tmp_path):
    export.main("fiftyone", tmp_path / "out")
    labels = json.loads((tmp_path / "out/labels.json").read_text())
    assert labels["classes"] == ["class 0", "class 1", "class 2"]
    for clip_id, row in project.rows("shards").items():
        (label,) = labels["labels"][clip_id]
        assert (label["label"], label["support"]) == (row["class_name"], [1, row["valid_frames"]])
        assert len(videos.decode(tmp_path / f"out/data/{clip_id}.mp4")) == row["valid_frames"]


def test_fiftyone_imports_it(project, tmp_path):
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    export.main("fiftyone", tmp_path / "out")
    importer = importers.FiftyOneTemporalDetectionDatasetImporter(dataset_dir=str(tmp_path / "out"))
    importer.setup()
    found = {path.rpartition("/")[2]: label.detections[0] for path, _, label, _ in importer}
    for clip_id, row in project.rows("shards").items():
        assert found[f"{clip_id}.mp4"].label == row["class_name"]
        assert found[f"{clip_id}.mp4"].support == [1, row["valid_frames"]]


def test_lance_has_the_very_bytes_of_the_filmstrips(project, tmp_path):
    import lance  # not above: it warns where a process forks

    export.main("lance", tmp_path / "out")
    stored = lance.dataset(str(tmp_path / "out/clips.lance"))
    rows = stored.to_table().to_pylist()
    assert {row["clip_id"]: row["filmstrip"]["bytes"] for row in rows} == strips(project)
    assert stored.count_rows("split = 'test'") == 4
    export.main("lance", tmp_path / "out")  # again: nothing is appended
    assert lance.dataset(str(tmp_path / "out/clips.lance")).count_rows() == 12


def test_lance_that_is_not_installed_is_named(project, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(WorkError, match="--format lance needs pylance: `pip install pylance`"):
        export.main("lance", tmp_path / "out")


# Other tools


def test_hugging_face_datasets_reads_parquet_with_images_also_streamed(project, tmp_path):
    datasets = pytest.importorskip("datasets")
    export.main("parquet", tmp_path / "out")
    shards = project.rows("shards")
    for streaming in (False, True):
        found = datasets.load_dataset(
            str(tmp_path / "out"), split="test", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
        samples = {sample["clip_id"]: sample for sample in found}
        assert samples.keys() == {clip_id for clip_id, row in shards.items() if row["split"] == "test"}
        assert {sample["filmstrip"].size for sample in samples.values()} == {(64, 6400)}


def test_duckdb_queries_parquet(project, tmp_path):
    export.main("parquet", tmp_path / "out")
    query = f"""
        SELECT split, count(*), min(valid_frames), sum(octet_length(filmstrip.bytes))
        FROM '{tmp_path}/out/data/*.parquet' GROUP BY split ORDER BY split
    """
    sizes = {clip_id: len(data) for clip_id, data in strips(project).items()}
    rows = project.rows("shards").values()
    assert duckdb.sql(query).fetchall() == [
        (
            split,
            sum(row["split"] == split for row in rows),
            min(row["valid_frames"] for row in rows if row["split"] == split),
            sum(sizes[row["clip_id"]] for row in rows if row["split"] == split),
        )
        for split in ("test", "train")
    ]


# Size


def test_larger_frames_than_the_shards_have_are_refused(project, tmp_path):
    with pytest.raises(ParamError, match=r"--size 112: the shards have frames of 64x64.*set resize.size: 112"):
        export.main("numpy", tmp_path / "out", size=112)
    assert not (tmp_path / "out").exists()


def test_smaller_frames_are_averages_of_areas(project, tmp_path):
    export.main("numpy", tmp_path / "out", size=32)
    expected = strips(project)
    for clip_id, row in index(tmp_path / "out").items():
        array = np.load(tmp_path / "out" / row["file"], mmap_mode="r")
        blocks = decoded(expected[clip_id]).reshape(100, 32, 2, 32, 2, 3).astype(float).mean(axis=(2, 4))
        assert np.abs(array[row["position"]] - blocks).max() <= 1


# Interruption, damage, other folders


def test_interrupted_export_continues_with_the_files_that_are_missing(project, tmp_path):
    export.main("parquet", tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    lost = tmp_path / "part/data/train-000001.parquet"
    lost.unlink()
    about = json.loads((tmp_path / "part/export.json").read_text())
    (tmp_path / "part/export.json").write_text(json.dumps({**about, "complete": False}))
    before = files(tmp_path / "part")
    export.main("parquet", tmp_path / "part")
    after = files(tmp_path / "part")
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in files(tmp_path / "whole").items()
    }
    assert all(after[name] == before[name] for name in before if name != "export.json")


def test_export_is_complete_only_at_its_end(project, tmp_path, monkeypatch):
    def stop(*_):
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(export, "_write_index", stop)
        with pytest.raises(RuntimeError):
            export.main("numpy", tmp_path / "out")
    assert json.loads((tmp_path / "out/export.json").read_text())["complete"] is False
    export.main("numpy", tmp_path / "out")
    assert json.loads((tmp_path / "out/export.json").read_text())["complete"] is True


@pytest.mark.parametrize(
    ("format", "name", "message"),
    [
        ("parquet", "data/test-000000.parquet", "filmstrip of own-|cannot be read"),
        ("numpy", "test-000000.npy", "own-class_.* differs"),
        ("mp4", "test/{clip_id}.mp4", "cannot be decoded|has the shape|differs by"),
    ],
)
def test_damaged_export_is_found_when_it_is_read_again(project, tmp_path, format, name, message):
    export.main(format, tmp_path / "out", split="test")
    clip_id = next(clip_id for clip_id, row in project.rows("shards").items() if row["split"] == "test")
    path = tmp_path / "out" / name.format(clip_id=clip_id)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(255 - value for value in data[middle : middle + 64])
    path.write_bytes(data)
    with pytest.raises(WorkError, match=message):
        export.main(format, tmp_path / "out", split="test")
    assert json.loads((tmp_path / "out/export.json").read_text())["complete"] is False


def test_damaged_or_missing_shard_is_named(dataset_copy, tmp_path):
    row = next(iter(dataset_copy.rows("shards").values()))
    path = dataset_copy.root / row["shard"]
    data = bytearray(path.read_bytes())
    data[row["offset"] + row["length"] // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WorkError, match=f"{row['clip_id']} differs from shards.parquet: run `dvc repro -s -f shard`"):
        export.main("parquet", tmp_path / "out")
    path.unlink()
    with pytest.raises(WorkError, match=f"{row['shard']} cannot be read: No such file"):
        export.main("parquet", tmp_path / "out")


def test_folder_with_something_else_is_left_alone(project, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(WorkError, match="is not empty: name a new folder"):
        export.main("numpy", tmp_path)
    export.main("parquet", tmp_path / "out", split="test")
    with pytest.raises(WorkError, match="holds another export"):
        export.main("parquet", tmp_path / "out")
    assert (tmp_path / "photo.jpg").read_bytes() == b"mine"


def test_split_without_clips_is_refused(project, tmp_path):
    with pytest.raises(ParamError, match="--split val: no clip is in this split"):
        export.main("numpy", tmp_path / "out", split="val")


def test_command_line_exports_and_says_what_it_compared(project, tmp_path):
    result = project.call("export", "--format", "mp4", "-o", str(tmp_path / "out"), "--split", "test")
    assert result.returncode == 0, result.stderr
    assert "4 clips as mp4" in result.stdout
    assert "within 6 grey levels" in result.stdout
    result = project.call("export", "--format", "mp4", "-o", str(tmp_path / "out"), "--size", "224")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


def test_whole_chain_at_112_pixels(here, tmp_path_factory):
    project = make_project(here).set(resize__size=112)
    for name in ("a", "b"):
        write_video(here / f"clips/{name}/x.mp4", frame_times(ord(name) - 70, 10))
    project.run(*STAGES)
    out = tmp_path_factory.mktemp("out")
    export.main("numpy", out / "112")
    export.main("numpy", out / "64", size=64)
    for row in index(out / "112").values():
        array = np.load(out / "112" / row["file"], mmap_mode="r")[row["position"]]
        assert array.shape == (100, 112, 112, 3)
        assert read_counters(array[: row["valid_frames"]]) == list(range(row["valid_frames"]))
    assert np.load(out / "64/train-000000.npy", mmap_mode="r").shape == (1, 100, 64, 64, 3)


def test_same_clips_give_the_same_files(project, tmp_path):
    for name in ("one", "two"):
        export.main("parquet", tmp_path / name)
        export.main("mp4", tmp_path / f"{name} videos", split="test")
    for kind in ("", " videos"):
        digests = [
            {
                path: hashlib.sha256(content).hexdigest()
                for path, (content, _) in files(tmp_path / f"{name}{kind}").items()
            }
            for name in ("one", "two")
        ]
        assert digests[0] == digests[1]
