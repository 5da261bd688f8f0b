"""Methods with class names: trained, measured and loaded as the others are."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from common.errors import WorkError
from tests.training import toy
from tests.training.fewshot.small import settings
from tests.training.fewshot.test_frame_methods import autoencoder, data, run, trainer  # noqa: F401 (data is a fixture)
from training import evaluate, params, stage3
from training.engine.runs import stage3_run
from training.fewshot.methods import METHODS
from training.fewshot.predict import embed_clips, episode_logits
from training.fewshot.text import class_names
from training.fewshot.trainer import load_method

NAME = "text_prototypes_pretrained"


def test_a_fitted_prior_is_loaded_as_it_was_learned_and_measured_by_names(data, capsys):  # noqa: F811
    chosen = settings(validation_classes=3)
    training = trainer(data, chosen)
    method = training.train(METHODS[NAME]).learner
    assert set(training.metrics) == {"embedding_pretrained", NAME}
    assert "names of other classes predict" in capsys.readouterr().out
    assert float(method.head.clips) > 0
    loaded = load_method(METHODS[NAME], autoencoder(), 3, chosen, run).learner
    assert all(torch.equal(value, loaded.head.state_dict()[key]) for key, value in method.head.state_dict().items())
    embed = partial(embed_clips, features=training._features("pretrained"), device=torch.device("cpu"))
    assert torch.equal(embed(loaded.embedding), embed(method.embedding))
    episodes = training._measured.sampler.draw(300, torch.Generator().manual_seed(chosen.seed))
    names = class_names(data.rows, chosen.text)
    logits = episode_logits(loaded.head, embed(loaded.embedding), episodes, chosen.way, names)
    expected = (logits.argmax(-1) == episodes.labels).float().mean((0, 2))
    assert training.metrics[NAME]["validation_1shot"] == pytest.approx(float(expected[1]))
    untold = episode_logits(loaded.head, embed(loaded.embedding), episodes, chosen.way)
    assert not torch.allclose(logits[:, 0], untold[:, 0])  # in the first round names are all that there is


def project(trained_project, tmp_path, monkeypatch, **changes):
    root = tmp_path / "project"
    shutil.copytree(trained_project, root)
    shutil.rmtree(root / "checkpoints/stage3")
    toy.write_params(root, stage3__methods=["prototypes_pretrained", NAME], **changes)
    monkeypatch.chdir(root)


def test_the_stages_train_and_evaluate_a_method_with_names(trained_project, tmp_path, monkeypatch):
    # steps: a prior from names needs class means that differ
    project(trained_project, tmp_path, monkeypatch, stage3__embedding_optimiser=toy.optimiser(steps=40))
    stage3.main()
    evaluate.main()
    found = json.loads(Path("metrics/evaluate.json").read_text())
    assert set(found[NAME]["difference"]) == set(found[NAME]["few_shot"])
    assert found["by_source"]["toy"][NAME]["few_shot"] == found[NAME]["few_shot"]  # the same episodes, names and clips
    assert (
        found[NAME]["few_shot"] != found["prototypes_pretrained"]["few_shot"]
    )  # names tell something, be it right or wrong


def test_an_encoder_that_is_not_there_stops_the_stage_before_any_work(trained_project, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    project(trained_project, tmp_path, monkeypatch, stage3__text__encoder=str(tmp_path / "nowhere"))
    with pytest.raises(WorkError, match=r"stage3\.text\.encoder is .*nowhere"):
        stage3.main()
    assert not Path("checkpoints/stage3").exists()


def test_vectors_of_names_are_in_the_fingerprint_of_methods_with_names_alone(toy_project):
    before = params.load()
    text = replace(before.stage3.text, buckets=before.stage3.text.buckets * 2)
    after = replace(before, stage3=replace(before.stage3, text=text))
    for name in ("embedding_pretrained", "mann_pretrained", "mann_finetuned"):
        assert stage3_run(before, name) == stage3_run(after, name)
    assert stage3_run(before, NAME).fingerprint != stage3_run(after, NAME).fingerprint


def test_the_weights_in_an_encoder_s_folder_are_in_the_fingerprint_and_its_place_is_not(toy_project):
    settings = params.load()

    def fingerprint(folder, weights):
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "model.safetensors").write_bytes(weights)
        text = replace(settings.stage3.text, encoder=folder)
        return stage3_run(replace(settings, stage3=replace(settings.stage3, text=text)), NAME).fingerprint

    assert fingerprint("one", b"weights") == fingerprint("two", b"weights")
    assert fingerprint("one", b"weights") != fingerprint("one", b"others")
