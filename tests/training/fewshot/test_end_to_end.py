"""Training of encoder, embedding and head together."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tests.training import toy
from tests.training.fewshot.small import settings
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.checkpoints import Run
from training.engine.loop import train
from training.engine.task import Draw
from training.fewshot.adapter import mean_frame
from training.fewshot.classes import split_classes
from training.fewshot.end_to_end import build_end_to_end, end_to_end_task
from training.fewshot.features import extract, feature_shape
from training.fewshot.methods import METHODS
from training.fewshot.predict import embed_clips
from training.models import create_model

SMALL = {"num_frames": 4, "dim": 8, "depth": 2, "heads": 2, "decoder_dim": 8, "decoder_heads": 2, "decoder_depth": 1}


@pytest.fixture
def data(here):
    toy.write_shards(here, toy.orbit_clips(classes=8, held_out=2, per_class=4, ticks=20))
    clips = Clips()
    return ClipWindows(clips, clips.select(split="train"), frames=4, stride=2)


def stage(**changes):
    end_to_end = replace(settings().end_to_end, **changes)
    return settings(end_to_end=end_to_end)


def learner(name, chosen, classes=6):
    torch.manual_seed(1)
    autoencoder = create_model("small_2x8x8", **SMALL)
    return build_end_to_end(METHODS[name], autoencoder, feature_shape(autoencoder.config, 2), classes, chosen)


def task_of(model, data, chosen, measured=None):
    return end_to_end_task(model, data, split_classes(data.rows, chosen)[0], measured, chosen, 2)


def gradients(model, task, seed=0):
    batch = task.draw(Draw(0, torch.Generator().manual_seed(seed)))
    model.zero_grad()
    torch.manual_seed(7)  # of dropout
    values = task.compute(batch)
    values["loss"].backward()
    return values, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["mann_finetuned", "prototypes_scratch", "nearest_mean_scratch"])
@pytest.mark.parametrize("micro_batch", [1, 5, 100])
def test_gradients_by_micro_batches_are_those_of_all_windows_at_once(data, name, micro_batch):
    found = []
    for size in (None, micro_batch):
        chosen = stage(micro_batch=size)
        model = learner(name, replace(chosen, adapter=replace(chosen.adapter, dropout=0.0)))
        found.append(gradients(model.train(), task_of(model, data, chosen)))
    (direct, expected), (cached, actual) = found
    assert actual.keys() == expected.keys()
    assert any(name.startswith("encoder.blocks.0") and grad.abs().sum() > 0 for name, grad in actual.items())
    torch.testing.assert_close(cached["loss"], direct["loss"])
    for parameter, grad in expected.items():
        torch.testing.assert_close(actual[parameter], grad, rtol=1e-4, atol=1e-5, msg=parameter)


def test_dropout_is_the_same_when_a_micro_batch_is_encoded_again(data):
    """With one micro-batch the random numbers of both ways are the same, so the gradients must be."""
    found = []
    for size in (None, 100):
        chosen = stage(micro_batch=size)
        model = learner("mann_scratch", chosen).train()
        found.append(gradients(model, task_of(model, data, chosen))[1])
    for parameter, grad in found[0].items():
        torch.testing.assert_close(found[1][parameter], grad, rtol=1e-4, atol=1e-6, msg=parameter)


def test_the_gradient_reaches_all_of_the_encoder_the_embedding_and_the_head(data):
    chosen = stage()
    model = learner("mann_scratch", chosen).train()
    _, found = gradients(model, task_of(model, data, chosen))
    missing = {name for name, p in model.named_parameters() if p.requires_grad} - found.keys()
    assert not missing
    assert all(grad.isfinite().all() for grad in found.values())


def test_the_loss_is_that_of_the_episodes_and_of_the_clips_classes(data):
    chosen = stage(class_weight=0.5)
    model = learner("prototypes_scratch", chosen).eval()
    task = task_of(model, data, chosen)
    batch = task.draw(Draw(0, torch.Generator().manual_seed(3)))
    assert batch.frames.shape == (2, 2, 3, 4, 64, 64, 3)
    ids = sorted({clip.class_id for clip in data.rows})
    for clip, number in zip(batch.clips.flatten().tolist(), batch.classes.flatten().tolist(), strict=True):
        assert ids[number] == data.rows[clip].class_id
    embedded = model.embed(batch.frames.flatten(0, 2))
    shown = mean_frame(embedded).unflatten(0, (2, 2, 3))
    logits = model.head.rounds(shown, F.one_hot(batch.labels, 3).float())
    episodes = F.cross_entropy(logits.flatten(0, 2), batch.labels.flatten())
    classes = F.cross_entropy(model.embedding.classify(embedded), batch.classes.flatten())
    torch.testing.assert_close(task.compute(batch)["loss"], episodes + 0.5 * classes)
    assert task.names(batch) == [data.rows[clip].clip_id for clip in batch.clips.flatten().tolist()]


def test_the_learner_is_that_of_the_features_of_its_encoder(data):
    chosen = stage()
    model = learner("mann_scratch", chosen).eval()
    frames = data.even_windows(torch.arange(5), 0, 1)
    features = extract(model.encoder, data, windows=1, grid=2)
    embedded = embed_clips(model.learner(3).embedding, features, torch.device("cpu"))
    expected = mean_frame(model.embed(frames))
    torch.testing.assert_close(embedded[:5], expected, rtol=0, atol=5e-3)  # features are in half precision


def test_validation_measures_the_classes_left_out(data):
    chosen = replace(stage(), validation_classes=3, instances=3)
    training, measured = split_classes(data.rows, chosen)
    model = learner("prototypes_scratch", chosen, classes=3).eval()
    task = end_to_end_task(model, data, training, measured, chosen, 2)
    found = task.validate()
    assert set(found) == {"loss", "validation_1shot", "validation_last"}
    drawn = torch.cat([task.draw(Draw(0, torch.Generator().manual_seed(s))).clips.flatten() for s in range(10)])
    assert not set(drawn.tolist()) & set(measured.clips.tolist())


def train_once(data, chosen, stop_at=None):
    """Weights and losses of a run, which an error may stop in a step."""
    model = learner("mann_scratch", chosen)
    task = task_of(model, data, chosen)
    done = []

    def compute(batch):
        done.append(None)
        if len(done) == stop_at:
            raise KeyboardInterrupt
        return task.compute(batch)

    history = train(
        Run("stage3/mann_scratch", "f", 0, "never"), model, chosen.end_to_end.scratch, replace(task, compute=compute)
    )
    return model.state_dict(), history, len(done)


def test_a_run_that_is_stopped_and_resumed_gives_the_same_weights_bit_for_bit(data, monkeypatch, tmp_path):
    chosen = stage(micro_batch=4, scratch=replace(settings().optimiser, steps=56, batch=2, ema=0.9))
    weights, history, _ = train_once(data, chosen)
    monkeypatch.chdir(tmp_path_of(tmp_path, "stopped"))
    with pytest.raises(KeyboardInterrupt):
        train_once(data, chosen, stop_at=54)
    again, resumed, steps = train_once(data, chosen)
    assert steps < 10
    assert resumed == history
    for name, value in weights.items():
        assert torch.equal(again[name], value), name


def tmp_path_of(root, name):
    (root / name).mkdir()
    return root / name
