"""Fingerprints hold everything that shapes weights: params, data, versions of the code, and what is trained before."""

from dataclasses import replace

import pytest

from training import params
from training.engine.runs import VERSIONS, pretrain_run, stage1_run, stage2_run, stage3_run

RUNS = {
    "pretrain": pretrain_run,
    "stage1": stage1_run,
    "stage2": lambda settings: stage2_run(settings, "autoencoder"),
    "stage3": lambda settings: stage3_run(settings, "mann"),
}
DEPENDENT = {  # the runs that change with a stage's params or version
    "pretrain": {"pretrain", "stage1", "stage3"},
    "stage1": {"stage1"},
    "stage2": {"stage2"},
    "stage3": {"stage3"},
}


def digests(settings):
    return {stage: make(settings).fingerprint for stage, make in RUNS.items()}


def changed(before, after):
    return {stage for stage in RUNS if before[stage] != after[stage]}


def test_runs_have_their_stage_s_name_and_seed(toy_project):
    settings = params.load()
    settings = replace(settings, stage1=replace(settings.stage1, seed=7))
    assert [make(settings).name for make in RUNS.values()] == [
        "pretrain",
        "stage1",
        "stage2/autoencoder",
        "stage3/mann",
    ]
    assert stage1_run(settings).seed == 7


@pytest.mark.parametrize("stage", RUNS)
def test_a_version_is_part_of_its_stage_s_fingerprint_and_of_those_that_build_on_it(toy_project, monkeypatch, stage):
    settings = params.load()
    before = digests(settings)
    monkeypatch.setitem(VERSIONS, stage, VERSIONS[stage] + 1)
    assert changed(before, digests(settings)) == DEPENDENT[stage]


@pytest.mark.parametrize("stage", RUNS)
def test_params_are_part_of_their_stage_s_fingerprint_and_of_those_that_build_on_it(toy_project, stage):
    settings = params.load()
    other = replace(settings, **{stage: replace(getattr(settings, stage), seed=99)})
    assert changed(digests(settings), digests(other)) == DEPENDENT[stage]


def test_the_data_are_part_of_every_fingerprint(toy_project):
    settings = params.load()
    before = digests(settings)
    with (toy_project / "manifests/shards.parquet").open("ab") as manifest:
        manifest.write(b"more")
    assert changed(before, digests(settings)) == set(RUNS)


def test_the_order_of_clips_is_in_every_fingerprint_and_their_storage_in_none(toy_project):
    settings = params.load()
    before = digests(settings)
    assert changed(before, digests(replace(settings, loader=replace(settings.loader, shuffle=3)))) == set(RUNS)
    assert changed(before, digests(replace(settings, loader=replace(settings.loader, storage="decode")))) == set()


def test_evaluation_params_are_in_no_fingerprint(toy_project):
    settings = params.load()
    other = replace(settings, evaluate=replace(settings.evaluate, episodes=7, seed=9))
    assert digests(settings) == digests(other)
