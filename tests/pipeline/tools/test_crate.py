"""crate: a Workflow Run Crate of what dvc.lock, params.yaml and the ledgers of this folder say."""

import hashlib
import json
import re
import shutil

import pytest
import yaml
from rocrate.rocrate import ROCrate

from common.errors import WorkError
from tests.conftest import REPO

WROTE = {
    "download": ["manifests/download.parquet"],
    "trim": ["manifests/trim.parquet"],
    "resample": ["manifests/resample.parquet"],
    "resize": ["manifests/resize.parquet"],
    "shard": ["manifests/shards.parquet", "data/shards"],
}


@pytest.fixture
def project(dataset_copy):
    """The dataset, with dvc.yaml and a dvc.lock of some of its stages as DVC would write it."""
    shutil.copy(REPO / "dvc.yaml", dataset_copy.root)
    stages = {}
    before = []
    for stage, names in WROTE.items():
        outs = [{"path": name, "hash": "md5", "md5": md5(dataset_copy.root / name)} for name in names]
        deps = [{"path": "common", "md5": "0.dir"}, *before]
        stages[stage] = {"cmd": f"./run pipeline {stage}", "deps": deps, "outs": outs}
        before = [{"path": names[0], "md5": outs[0]["md5"]}]
    stages["pretrain"] = {"cmd": "./run training pretrain", "outs": [{"path": "checkpoints/pretrain", "md5": "1"}]}
    (dataset_copy.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))
    return dataset_copy


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "2.dir"


def entities(project):
    metadata = json.loads((project.root / "ro-crate-metadata.json").read_text())
    return {entity["@id"]: entity for entity in metadata["@graph"]}


def ids(value):
    return [item["@id"] for item in (value if isinstance(value, list) else [value])]


def test_actions_are_the_data_stages_of_dvc_lock_with_their_files(project):
    project.run("crate")
    known = entities(project)
    assert ids(known["./"]["mentions"]) == ["#run", *(f"#{stage}" for stage in WROTE)]
    assert "manifests/trim.parquet" in ids(known["#resample"]["object"])
    assert "manifests/resample.parquet" in ids(known["#resample"]["result"])
    assert "data/shards/train-000000.tar" in ids(known["#shard"]["result"])
    assert "common 0.dir" in known["#trim"]["description"]
    sha256 = hashlib.sha256((project.root / "manifests/trim.parquet").read_bytes()).hexdigest()
    assert known["manifests/trim.parquet"]["sha256"] == sha256


def test_ledgers_give_the_clips_of_each_stage(project):
    project.run("crate")
    known = entities(project)
    assert known["#resize-clips-finished"]["value"] == "12"
    assert float(known["#resize-seconds-of-work"]["value"]) > 0
    assert known["#param-resample.pad"]["value"] == "loop"


def test_every_reference_leads_to_an_entity_and_every_file_exists(project):
    project.run("crate")
    known = entities(project)
    found = set(re.findall(r'\{"@id": "([^"]+)"\}', json.dumps(list(known.values()))))
    assert {name for name in found - known.keys() if not name.startswith("https://w3id.org/")} == set()
    files = [name for name, entity in known.items() if "File" in entity["@type"]]
    assert [name for name in files if not (project.root / name).is_file()] == []


def test_same_run_gives_the_same_bytes_without_any_folder_of_this_machine(project):
    project.run("crate")
    first = (project.root / "ro-crate-metadata.json").read_bytes()
    project.run("crate")
    assert (project.root / "ro-crate-metadata.json").read_bytes() == first
    assert str(project.root).encode() not in first


def test_manifest_that_dvc_lock_does_not_describe_is_named(project):
    lock = project.root / "dvc.lock"
    lock.write_text(lock.read_text().replace(md5(project.root / "manifests/trim.parquet"), "3" * 32))
    with pytest.raises(WorkError, match=r"manifests/trim\.parquet is not the one in dvc\.lock: run `dvc repro verify`"):
        project.run("crate")


@pytest.mark.parametrize("text", ["", "stages: [1]", "stages: {a: {}}", "{", "\0"])
def test_damaged_or_missing_lock_is_one_line(project, text):
    (project.root / "dvc.lock").write_text(text)
    with pytest.raises(WorkError, match=r"dvc\.lock is damaged"):
        project.run("crate")
    (project.root / "dvc.lock").unlink()
    with pytest.raises(WorkError, match=r"dvc\.lock is missing: run `dvc repro verify`"):
        project.run("crate")


def test_rocrate_reads_the_workflow(project):
    project.run("crate")
    loaded = ROCrate(str(project.root))
    assert loaded.mainEntity.id == "dvc.yaml"
    assert loaded.get("#run")["instrument"].id == "dvc.yaml"
