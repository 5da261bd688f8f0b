"""Manifests: typed, sorted, the same bytes for the same rows; and the packages keep their distance."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import WorkError
from pipeline.records import manifests
from tests.conftest import REPO


def row(clip_id, **values):
    return {"clip_id": clip_id, "source": "own", "status": "ok", "attempts": 1, "key": "k"} | values


def test_the_data_dictionary_is_what_the_schemas_say():
    text = (REPO / "manifests/README.md").read_text(encoding="utf-8")
    assert text == manifests.dictionary(), "run `python -m pipeline.records.manifests`"


def test_the_data_dictionary_names_every_column_with_a_meaning():
    text = manifests.dictionary()
    for name, schema in manifests.SCHEMAS.items():
        section = text.split(f"## {name}.parquet")[1].split("\n## ")[0]
        for field in schema:
            meaning = re.search(rf"^\| `{field.name}` \| [^|]+ \| ([^|]+) \|$", section, re.MULTILINE)
            assert meaning, f"{name}.{field.name}"
            assert len(meaning[1]) > 10
            assert field.name == field.name.lower()


CONTRACT = {
    "download": "video_id start_s end_s official_split labels in_minikinetics200 url path bytes sha256",
    "trim": "path lead_in_s duration_s bytes",
    "resample": "container codec width height rotation avg_fps source_frames time_base timeline valid_frames",
    "resize": "path bytes sha256 valid_frames decode_s",
    "clips": "class_id class_name labels tinyvirat_labels official_split",
    "shards": "class_id class_name split official_split tinyvirat_labels valid_frames shard offset length",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_the_columns_others_rely_on_are_there(name):
    common = "clip_id source status error error_detail attempts"
    assert {*common.split(), *CONTRACT[name].split()} <= set(manifests.SCHEMAS[name].names)


def test_rows_come_back_sorted_and_typed(here):
    manifests.write("trim", [row("b", bytes=3, lead_in_s=0.5), row("a", path="x.mp4")])
    first, second = manifests.read("trim")
    assert (first["clip_id"], first["path"], first["bytes"]) == ("a", "x.mp4", None)
    assert (second["clip_id"], second["bytes"], second["lead_in_s"]) == ("b", 3, 0.5)


def test_the_same_rows_in_any_order_give_the_same_bytes(here):
    rows = [row(f"clip{n}", timeline=list(range(n))) for n in range(50)]
    manifests.write("resample", rows)
    first = manifests.path_of("resample").read_bytes()
    manifests.write("resample", rows[::-1])
    assert manifests.path_of("resample").read_bytes() == first


def test_a_manifest_is_zstd_parquet_that_anyone_reads(here):
    manifests.write("resample", [row("a", timeline=[1, 2, 3])])
    metadata = pq.ParquetFile("manifests/resample.parquet").metadata
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert pq.read_table("manifests/resample.parquet")["timeline"].to_pylist() == [[1, 2, 3]]


def test_an_empty_manifest_has_its_columns(here):
    manifests.write("trim", [])
    assert manifests.read("trim") == []
    assert pq.read_schema("manifests/trim.parquet").names == manifests.SCHEMAS["trim"].names


def test_other_columns_are_named(here):
    Path("manifests").mkdir()
    table = pa.table({name: pa.array([], pa.string()) for name in manifests.SCHEMAS["trim"].names[1:]} | {"odd": []})
    pq.write_table(table, "manifests/trim.parquet")
    with pytest.raises(WorkError, match=r"trim\.parquet has other columns.*clip_id, odd.*dvc repro"):
        manifests.read("trim")


def test_a_value_of_another_type_is_a_bug_and_leaves_the_old_manifest(here):
    manifests.write("trim", [row("a", bytes=3)])
    before = manifests.path_of("trim").read_bytes()
    with pytest.raises(pa.ArrowInvalid):
        manifests.write("trim", [row("a", bytes="many")])
    assert manifests.path_of("trim").read_bytes() == before


# The packages keep their distance


def imports_of(package):
    for path in (REPO / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield path, (node.module or "").split(".")[0]


@pytest.mark.parametrize(
    ("package", "stranger"),
    [("pipeline", "training"), ("training", "pipeline"), ("common", "pipeline"), ("common", "training")],
)
def test_packages_do_not_import_each_other(package, stranger):
    found = list(imports_of(package))
    assert found
    assert [path for path, name in found if name == stranger] == []


def loaded_by(code):
    """Top-level modules in a fresh interpreter after `code`."""
    code += "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_no_pipeline_module_needs_torch():
    names = [
        ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")
        for path in (REPO / "pipeline").rglob("*.py")
        if path.name != "__main__.py"
    ]
    loaded = loaded_by(f"import importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert "av" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "training"}


def test_help_needs_nothing_heavy():
    code = "import pipeline.__main__ as command\nprint(command.parser().format_help())"
    assert not loaded_by(code) & {"torch", "numpy", "cv2", "av", "pyarrow"}


def test_help_names_every_stage():
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", "--help"], env=environment, capture_output=True, text=True, check=True
    )
    stages = "download trim resample resize merge split shard verify show stats retry"
    assert all(re.search(rf"^\s+{stage}\b", result.stdout, re.MULTILINE) for stage in stages.split())
