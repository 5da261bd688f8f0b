"""Stage 3's loss."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tests.training.fewshot.small import settings
from training.engine.loop import Draw
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.learner import FewShotLearner
from training.stage3 import episode_task

CLASSES = torch.arange(5).repeat_interleave(6)
STAGE = settings()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FewShotLearner(5, 4, 5, STAGE, external_memory=True)


def drawn(seed):
    """The episodes and windows that the loss draws from a generator of this seed."""
    generator = torch.Generator().manual_seed(seed)
    episodes = EpisodeSampler(CLASSES, 3, 4).draw(4, generator)
    return episodes, torch.randint(2, episodes.clips.shape, generator=generator)


def compute(model, features, stage=STAGE, seed=7):
    sampler = EpisodeSampler(CLASSES, 3, 4)
    task = episode_task(model, sampler, features, CLASSES, stage)
    return task.compute(task.draw(Draw(0, torch.Generator().manual_seed(seed))))


def test_the_loss_is_that_of_all_predictions_and_of_the_classes(model):
    features = torch.randn(30, 2, 4, 5)
    episodes, window = drawn(7)
    logits, embedded = model(features[episodes.clips, window], episodes.labels)
    losses = [
        F.cross_entropy(logits[b, r, w], episodes.labels[b, r, w]) for b in range(4) for r in range(4) for w in range(3)
    ]
    classes = model.class_loss(embedded.reshape(-1, 6), CLASSES[episodes.clips].reshape(-1))
    torch.testing.assert_close(compute(model, features)["loss"], torch.stack(losses).mean() + 0.5 * classes)


def test_without_a_class_loss_the_class_head_gets_no_gradient(model):
    compute(model, torch.randn(30, 2, 4, 5), replace(STAGE, class_loss=0.0))["loss"].backward()
    assert model.class_head.weight.grad is None
    assert model.scale.grad is not None


def test_the_accuracy_is_that_of_the_last_round(model):
    features = torch.randn(30, 2, 4, 5)
    episodes, window = drawn(7)
    logits, _ = model(features[episodes.clips, window], episodes.labels)
    hits = [int(logits[b, 3, w].argmax()) == int(episodes.labels[b, 3, w]) for b in range(4) for w in range(3)]
    assert float(compute(model, features)["accuracy"]) == pytest.approx(sum(hits) / 12)


def test_every_window_of_a_clip_is_used(model):
    features = torch.randn(30, 2, 4, 5).requires_grad_()
    for seed in range(6):
        compute(model, features, seed=seed)["loss"].backward()
    assert (features.grad.abs().sum((2, 3)) > 0).float().mean() > 0.9
