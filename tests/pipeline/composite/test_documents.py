"""The documents beside the shards: Croissant and RO-Crate that are true of the files, and the same on every machine."""

import hashlib
import importlib
import json
import re
import sys
import tomllib

import pytest
import yaml
from rocrate.rocrate import ROCrate

from pipeline import params
from pipeline.composite import crate, croissant, documents
from pipeline.composite.dataset import RELEASED, VERSION, Dataset, File
from tests.conftest import REPO, make_project
from tests.pipeline.composite.test_card import FACTS, shard_row


def read(project, name):
    return json.loads((project.root / "data/shards" / name).read_text())


def entities(metadata):
    return {entity["@id"]: entity for entity in metadata["@graph"]}


def described(rows, settings, *sources):
    """A dataset of these rows, without lost clips."""
    facts = {name: FACTS[name] for name in sources}
    shards = [File("train-000000.tar", 10240, "ab" * 32)]
    return Dataset(rows, [], shards, b"index", facts, settings)


@pytest.fixture
def settings(project):
    return params.load()


# What they say is so


def test_digest_and_size_of_every_file_are_those_on_disk(dataset):
    folder = dataset.root / "data/shards"
    in_croissant = {
        file["contentUrl"]: (file["contentSize"].removesuffix(" B"), file["sha256"])
        for file in read(dataset, "croissant.json")["distribution"]
        if file["@type"] == "cr:FileObject"
    }
    in_crate = {
        entity["@id"]: (entity["contentSize"], entity["sha256"])
        for entity in read(dataset, "ro-crate-metadata.json")["@graph"]
        if entity["@type"] == "File"
    }
    on_disk = {
        path.name: (str(path.stat().st_size), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.iterdir()
        if path.name != "ro-crate-metadata.json"
    }
    assert in_crate == on_disk
    assert in_croissant == {name: file for name, file in on_disk.items() if name.endswith((".tar", ".parquet"))}


def test_index_beside_the_shards_is_the_manifest(dataset):
    assert (dataset.root / "data/shards/shards.parquet").read_bytes() == dataset.manifest("shards")


def test_version_and_date_are_those_of_the_code():
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert VERSION == citation["version"] == project["version"]
    assert citation["date-released"].isoformat() == RELEASED


def test_crate_lists_the_params_of_every_stage_as_they_apply(dataset):
    params_of = {e["name"]: e["value"] for e in read(dataset, "ro-crate-metadata.json")["@graph"] if "value" in e}
    assert params_of["resample.fps"] == "10"
    assert params_of["shard.max_clips"] == "4"
    assert params_of["split.target_clips"] == "null"
    assert params_of["sources"] == "{own: {kind: folder, root: clips}}"


def test_every_param_in_the_crate_reruns_shard_and_verify(settings):
    stages = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    named = {param["name"] for stage in crate.STAGES for param in crate.params_of(stage, settings)}
    for stage in ("shard", "verify"):
        listed = set(stages[stage]["params"])
        assert {name for name in named if not {name, name.partition(".")[0]} & listed} == set(), stage


def test_actions_lead_from_the_sources_to_the_shards(dataset):
    metadata = entities(read(dataset, "ro-crate-metadata.json"))
    actions = [metadata[action["@id"]] for action in metadata["./"]["mentions"]]
    assert [action["name"].rpartition(" ")[2] for action in actions] == list(crate.STAGES)
    made = [{"@id": "#source-own"}]
    for action in actions:
        assert all(item in action["object"] for item in made)
        made = action["result"] if isinstance(action["result"], list) else [action["result"]]
    assert [item["@id"] for item in made] == ["test-000000.tar", "train-000000.tar", "train-000001.tar"]


def test_every_reference_in_the_crate_leads_to_an_entity(dataset):
    metadata = read(dataset, "ro-crate-metadata.json")
    known = entities(metadata)
    found = set(re.findall(r'\{"@id": "([^"]+)"\}', json.dumps(metadata)))
    assert {name for name in found - known.keys() if not name.startswith("https://w3id.org/ro/crate/")} == set()


def test_lost_and_padded_clips_are_counted(dataset):
    metadata = read(dataset, "croissant.json")
    assert metadata["rai:dataCollectionMissingData"] == "No clip was lost."
    assert metadata["rai:dataImputationProtocol"].startswith("12 clips are shorter than 100 frames and padded by repea")


# Terms


def test_terms_are_those_of_each_source_and_nothing_more_is_claimed(here):
    make_project(here).set(corpus="full")
    settings = params.load()
    rows = [shard_row("x", "hosted", 0), shard_row("y", "tubes", 1)]
    metadata = croissant.build(described(rows, settings, "hosted", "tubes", "own"))
    assert [work["name"] for work in metadata["license"]] == ["Sports-9: CC BY 4.0", "Tubes: research only"]
    assert "grants no rights in the videos" in metadata["description"]
    assert "frames of 64x64 pixels" in metadata["description"]


def test_drawn_clips_are_under_the_licence_of_the_project_and_a_folder_under_its_owners(settings):
    rows = [shard_row("x", "hosted", 0), shard_row("y", "own", 1)]
    metadata = croissant.build(described(rows, settings, "hosted", "own"))
    names = [work["name"] for work in metadata["license"]]
    assert names == ["a folder: its owner's", "Drawn clips: Apache License 2.0"]
    (people,) = metadata["rai:personalSensitiveInformation"]
    assert "Sports-9: drawn by the pipeline" in people
    assert "a folder: Not known: the videos may show people." in people


# The same everywhere


def test_no_folder_host_or_credential_is_in_the_crate(here):
    make_project(here).set(
        corpus="https://user:hunter2@host.example/data/mirror",
        sources={"own": {"kind": "folder", "root": "/home/somebody/clips"}},
        split__by="file",
        split__file="/home/somebody/lists.csv",
        engine__kind="ray",
        engine__store="s3://bucket/work?token=hunter2",
        shard__copy_to="s3://bucket/copies",
    )
    text = b"".join(documents.render(described([shard_row("x", "own", 0)], params.load(), "own")).values()).decode()
    for secret in ("hunter2", "user:", "host.example", "somebody", "bucket", str(here)):
        assert secret not in text
    assert '"value": "mirror"' in text
    assert '"value": "lists.csv"' in text


def test_documents_do_not_depend_on_the_order_of_rows(settings):
    rows = [shard_row(f"{n}", "hosted" if n % 2 else "tubes", n % 3) for n in range(9)]
    one, other = (described(order, settings, "hosted", "tubes") for order in (rows, rows[::-1]))
    assert documents.render(one) == documents.render(other)


# Their own tools


@pytest.fixture
def mlcroissant(monkeypatch, tmp_path):
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path / "cache"))
    for name in [name for name in sys.modules if name.startswith("mlcroissant")]:
        monkeypatch.delitem(sys.modules, name)  # it reads the variable when it is imported
    return importlib.import_module("mlcroissant")


def test_mlcommons_validator_accepts_it_without_a_warning(mlcroissant, dataset):
    loaded = mlcroissant.Dataset(jsonld=str(dataset.root / "data/shards/croissant.json"))
    assert list(loaded.metadata.ctx.issues.errors) == []
    assert list(loaded.metadata.ctx.issues.warnings) == []
    assert loaded.metadata.data_biases == ["a folder: Not known."]


def test_mlcroissant_loads_every_record_from_the_files(mlcroissant, dataset):
    loaded = mlcroissant.Dataset(jsonld=str(dataset.root / "data/shards/croissant.json"))
    rows = dataset.rows("shards")
    clips = {record["clips/clip_id"].decode(): record for record in loaded.records("clips")}
    assert {name: record["clips/sha256"].decode() for name, record in clips.items()} == {
        name: row["sha256"] for name, row in rows.items()
    }
    samples = {record["samples/clip_id"].decode(): record for record in loaded.records("samples")}
    assert samples.keys() == rows.keys()
    for clip_id, sample in samples.items():
        assert sample["samples/filmstrip"].size == (64, 6400)
        assert sample["samples/class_id"] == rows[clip_id]["class_id"]
        assert sample["samples/split"].decode() == rows[clip_id]["split"]
    assert [record["splits/name"] for record in loaded.records("splits")] == ["train", "test"]
    assert [record["classes/name"] for record in loaded.records("classes")] == ["class 0", "class 1", "class 2"]


def test_rocrate_reads_the_crate(dataset):
    loaded = ROCrate(str(dataset.root / "data/shards"))
    names = {path.name for path in (dataset.root / "data/shards").iterdir()} - {"ro-crate-metadata.json"}
    assert {entity.id for entity in loaded.data_entities} == names
    assert len(loaded.root_dataset["mentions"]) == 7
