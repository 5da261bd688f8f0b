"""The few-shot learner: no label reaches a prediction that comes before it."""

import pytest
import torch
from torch.nn import functional as F

from tests.training.fewshot.small import settings
from training.fewshot.learner import FewShotLearner
from training.fewshot.lstm import LSTMMemory
from training.fewshot.mann import MANN

BATCH, ROUNDS, WAY, TIMES, FEATURES = 2, 4, 3, 4, 5
MEMORIES = pytest.mark.parametrize("external_memory", [True, False], ids=["mann", "lstm"])


def learner(external_memory, **changes):
    torch.manual_seed(0)
    return FewShotLearner(FEATURES, TIMES, 11, settings(**changes), external_memory=external_memory)


def episodes(seed=0):
    """Features (B, rounds, way, times, F) and labels (B, rounds, way), each round a permutation."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(BATCH, ROUNDS, WAY, TIMES, FEATURES, generator=generator)
    return features, torch.rand(BATCH, ROUNDS, WAY, generator=generator).argsort(2)


def label_gradients(model, round_number):
    """Gradient of one round's logits with respect to all one-hot labels, (B, rounds, way, way)."""
    features, labels = episodes()
    embedded = model.adapter(features.flatten(0, 2)).unflatten(0, labels.shape)
    one_hot = F.one_hot(labels, WAY).float().requires_grad_()
    weights = torch.randn(BATCH, WAY, WAY)
    (model.predict(embedded, one_hot)[:, round_number] * weights).sum().backward()
    return one_hot.grad


@MEMORIES
@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_labels_of_a_round_and_of_later_ones_do_not_reach_its_logits(external_memory, round_number):
    gradients = label_gradients(learner(external_memory), round_number)
    assert not gradients[:, round_number:].any()  # exactly zero


@MEMORIES
@pytest.mark.parametrize("round_number", range(1, ROUNDS))
def test_labels_of_all_earlier_rounds_reach_a_round_s_logits(external_memory, round_number):
    gradients = label_gradients(learner(external_memory), round_number)
    assert (gradients[:, :round_number].abs().sum(3) > 0).all()


@MEMORIES
def test_changed_labels_change_later_rounds_only(external_memory):
    model = learner(external_memory).eval()
    features, labels = episodes()
    other = labels.clone()
    other[:, 2] = other[:, 2].roll(1, 1)
    before, after = model(features, labels)[0], model(features, other)[0]
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@MEMORIES
def test_queries_of_a_round_do_not_affect_each_other(external_memory):
    model = learner(external_memory).eval()
    features, labels = episodes()
    other = features.clone()
    other[:, -1, 0] = torch.randn(BATCH, TIMES, FEATURES)
    before, after = model(features, labels)[0], model(other, labels)[0]
    torch.testing.assert_close(before[:, -1, 1:], after[:, -1, 1:])
    assert not torch.allclose(before[:, -1, 0], after[:, -1, 0])


@MEMORIES
def test_logits_are_those_of_the_episode_written_out_step_by_step(external_memory):
    model = learner(external_memory).eval()
    features, labels = episodes()
    logits, embedded = model(features, labels)
    assert embedded.shape == (BATCH, ROUNDS, WAY, 6)
    for episode in range(BATCH):
        state = model.memory.initial_state(1)
        for number in range(ROUNDS):
            embeddings = model.adapter(features[episode, number])
            torch.testing.assert_close(embedded[episode, number], embeddings)
            for clip in range(WAY):
                query = torch.cat([4.0 * embeddings[clip], torch.zeros(WAY)])[None]
                torch.testing.assert_close(logits[episode, number, clip], model.memory(query, state)[0][0])
            for clip in range(WAY):
                label = torch.eye(WAY)[labels[episode, number, clip]]
                _, state = model.memory(torch.cat([4.0 * embeddings[clip], label])[None], state)


@MEMORIES
def test_episodes_of_a_batch_do_not_affect_each_other(external_memory):
    model = learner(external_memory).eval()
    features, labels = episodes()
    torch.testing.assert_close(model(features, labels)[0][1:], model(features[1:], labels[1:])[0])


def test_the_class_loss_is_the_cross_entropy_of_scaled_cosines():
    model = learner(True, class_scale=8.0)
    embedded = F.normalize(torch.randn(5, 6), dim=1)
    classes = torch.tensor([0, 3, 10, 3, 7])
    weight = model.class_head.weight
    losses = []
    for vector, number in zip(embedded, classes.tolist(), strict=True):
        cosines = torch.stack([vector @ row / row.norm() for row in weight])
        losses.append((8.0 * cosines).exp().sum().log() - 8.0 * cosines[number])
    torch.testing.assert_close(model.class_loss(embedded, classes), torch.stack(losses).mean())


def test_the_class_loss_of_perfect_embeddings_is_least():
    model = learner(True)
    weight = F.normalize(model.class_head.weight.detach(), dim=1)
    numbers = torch.arange(11)
    right = model.class_loss(weight, numbers)
    assert all(right < model.class_loss(weight, numbers.roll(shift)) for shift in range(1, 11))


def test_the_memory_is_as_the_settings_say():
    mann, lstm = learner(True), learner(False)
    assert isinstance(mann.memory, MANN)
    assert (mann.memory.rows, mann.memory.width, mann.memory.heads, mann.memory.decay) == (6, 5, 2, 0.9)
    assert mann.memory.strength.tolist() == [[10.0], [10.0]]
    assert isinstance(lstm.memory, LSTMMemory)
    assert mann.memory.controller.hidden_size == lstm.memory.lower.hidden_size == 7
    assert mann.scale == 4.0
