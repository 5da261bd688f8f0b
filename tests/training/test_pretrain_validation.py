"""pretrain is measured on training clips that it does not train on."""

import json

import pytest

from common.errors import ParamError
from tests.training import toy
from training import params, pretrain
from training.clips import Clips
from training.engine.validation import carve


def optimiser(**changes):
    return toy.optimiser(steps=4) | changes


def test_masked_errors_on_held_out_training_clips_are_a_curve(toy_project):
    toy.write_params(toy_project, pretrain__validation=0.1, pretrain__optimiser=optimiser(validations=2))
    pretrain.main()
    header, *rows = (toy_project / "plots/pretrain_validation.tsv").read_text().splitlines()
    assert header.split("\t") == ["step", "loss"]
    assert [row.split("\t")[0] for row in rows] == ["2", "4"]
    metrics = toy.read_json(toy_project / "metrics/pretrain.json")
    assert (metrics["clips"], metrics["validation_clips"], metrics["test_clips"]) == (25, 3, 20)
    logged = [json.loads(line) for line in (toy_project / "logs/pretrain.jsonl").read_text().splitlines()]
    assert [event["step"] for event in logged if event["event"] == "validation"] == [2, 4]


def test_the_clips_held_out_are_of_the_training_classes(toy_project):
    clips = Clips()
    rows = clips.select(split="train")
    train, held = carve(rows, params.load().pretrain.validation, 0)
    assert set(train) | set(held) == set(rows)
    assert all(clip.split == "train" for clip in held)


def test_validations_without_clips_to_measure_are_an_error(toy_project):
    toy.write_params(toy_project, pretrain__validation=0.0, pretrain__optimiser=optimiser(validations=2))
    with pytest.raises(ParamError, match=r"pretrain: validation is 0: must be above 0 for optimiser\.validations"):
        params.load()
