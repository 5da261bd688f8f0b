"""Methods on frame-wise embeddings, and on mean tokens: trained, measured and loaded as the others are."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.training import toy
from tests.training.fewshot.small import settings
from training import evaluate, stage3
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.checkpoints import Run
from training.fewshot.adapter import FrameEmbedding
from training.fewshot.features import FeatureShape, feature_shape
from training.fewshot.methods import METHODS, build_learner
from training.fewshot.predict import embed_clips
from training.fewshot.trainer import FrozenFeatures, Trainer, load_method
from training.models import create_model

SMALL = {"num_frames": 6, "dim": 8, "depth": 1, "heads": 2, "decoder_dim": 8, "decoder_heads": 2, "decoder_depth": 1}


@pytest.fixture
def data(here):
    toy.write_shards(here, toy.orbit_clips(classes=8, held_out=2, per_class=4, ticks=20))
    clips = Clips()
    return ClipWindows(clips, clips.select(split="train"), frames=6, stride=2)


def autoencoder():
    torch.manual_seed(1)
    return create_model("small_2x8x8", **SMALL).eval()


def run(name):
    return Run(f"stage3/{name}", "test", 0, "never")


def trainer(data, chosen):
    kinds = {"windows": chosen.windows, "grid": chosen.feature_grid, "kind": chosen.features}
    return Trainer(chosen, FrozenFeatures({"pretrained": autoencoder()}, data, **kinds), run, autoencoder)


def test_frame_wise_methods_take_an_embedding_of_each_time():
    for name in ("otam_pretrained", "trx_pretrained"):
        learner = build_learner(METHODS[name], FeatureShape(4, 2, 5), settings())
        assert isinstance(learner.embedding, FrameEmbedding)
        logits, embedded = learner.rounds(torch.randn(2, 4, 3, 2, 4, 4, 5), torch.rand(2, 4, 3).argsort(2))
        assert logits.shape == (2, 4, 3, 3)
        assert embedded.shape == (2, 4, 3, 4, 6)


def test_finished_frame_wise_methods_are_loaded_as_they_were_trained(data):
    chosen = settings(validation_classes=3)
    training = trainer(data, chosen)
    trained = {name: training.train(METHODS[name]) for name in ("otam_pretrained", "trx_pretrained")}
    assert set(training.metrics) == {"embedding_pretrained", "otam_pretrained", "trx_pretrained"}
    assert set(training.metrics["otam_pretrained"]) == {"validation_1shot", "validation_last"}
    features = training._features("pretrained")
    for name, method in trained.items():
        loaded = load_method(METHODS[name], autoencoder(), 3, chosen, run).learner
        embed = partial(embed_clips, features=features, device=torch.device("cpu"))
        embedded = embed(method.learner.embedding)
        assert embedded.shape == (len(data), 3, 6)
        assert torch.equal(embed(loaded.embedding), embedded)
        shown, labels = embedded[:6].view(1, 2, 3, 3, 6), torch.eye(3).expand(1, 2, 3, 3)
        assert torch.equal(loaded.head.rounds(shown, labels), method.learner.head.eval().rounds(shown, labels))


@pytest.mark.parametrize("name", ["otam_finetuned", "trx_finetuned", "trx_scratch"])
def test_frame_wise_methods_train_the_encoder_end_to_end(data, name):
    training = trainer(data, settings())
    encoder = training.train(METHODS[name]).encoder
    assert training.metrics[name]["steps"] == 3
    before = dict(autoencoder().encoder.named_parameters())
    assert all(not torch.equal(value, before[key]) for key, value in encoder.named_parameters() if "proj.weight" in key)


def test_methods_train_on_mean_tokens_too(data):
    chosen = settings(features="mean")
    training = trainer(data, chosen)
    for name in ("prototypes_pretrained", "mann_pretrained", "otam_pretrained", "nearest_mean_pretrained"):
        learner = training.train(METHODS[name]).learner
        features = training._features("pretrained")
        assert features.shape == (len(data), 2, *feature_shape(autoencoder().config, 2, "mean")[:2], 8)
        assert learner.embed(features).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "methods"),
    [("change", ["prototypes_pretrained", "otam_pretrained", "trx_pretrained"]), ("mean", ["otam_random"])],
)
def test_the_stages_train_and_evaluate_frame_wise_methods(trained_project, tmp_path, monkeypatch, kind, methods):
    root = tmp_path / "project"
    shutil.copytree(trained_project, root)
    shutil.rmtree(root / "checkpoints/stage3")
    toy.write_params(root, stage3__methods=methods, stage3__features=kind)
    monkeypatch.chdir(root)
    stage3.main()
    evaluate.main()
    found = json.loads(Path("metrics/evaluate.json").read_text())
    for name in methods:
        assert found[name]["instance_accuracy"]["1"] == pytest.approx(
            1 / found["way"], abs=0.2
        )  # no support, so at chance
