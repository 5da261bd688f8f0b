"""All heads: support, queries and rounds; no label reaches a prediction that comes before it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.training.fewshot.contract import (
    assert_earlier_rounds_are_support,
    assert_order_of_support_does_not_matter,
)
from tests.training.fewshot.small import settings
from training.fewshot.heads import build_head
from training.fewshot.nearest import NearestMeanHead
from training.fewshot.protonet import PrototypeHead, class_means
from training.fewshot.recurrent import RecurrentHead

BATCH, ROUNDS, WAY, E = 2, 4, 3, 6
NAMES = ("mann", "lstm", "transformer", "maml", "anil", "prototypes", "text_prototypes", "linear", "nearest_mean")
HEADS = pytest.mark.parametrize("name", NAMES)
RECURRENT = pytest.mark.parametrize("name", ["mann", "lstm"])


def head(name):
    return build_head(name, settings()).double().eval()


def episodes(seed=0):
    """Embeddings (B, rounds, way, E) and one-hot labels (B, rounds, way, way), each round a permutation."""
    generator = torch.Generator().manual_seed(seed)
    embedded = torch.randn(BATCH, ROUNDS, WAY, E, generator=generator, dtype=torch.float64)
    labels = torch.rand(BATCH, ROUNDS, WAY, generator=generator).argsort(2)
    return embedded, F.one_hot(labels, WAY).double()


def label_gradients(model, round_number):
    """Gradient of one round's logits with respect to all one-hot labels, (B, rounds, way, way)."""
    embedded, labels = episodes()
    labels.requires_grad_()
    weights = torch.randn(BATCH, WAY, WAY, dtype=torch.float64)
    logits = model.rounds(embedded, labels)[:, round_number]
    (logits * weights).sum().backward()
    return labels.grad


@HEADS
@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_labels_of_a_round_and_of_later_ones_do_not_reach_its_logits(name, round_number):
    gradients = label_gradients(head(name), round_number)
    assert not gradients[:, round_number:].any()  # exactly zero


@HEADS
@pytest.mark.parametrize("round_number", range(1, ROUNDS))
def test_labels_of_all_earlier_rounds_reach_a_round_s_logits(name, round_number):
    gradients = label_gradients(head(name), round_number)
    assert (gradients[:, :round_number].abs().sum(3) > 0).all()


@HEADS
def test_each_round_is_classified_with_all_earlier_rounds_as_support(name):
    assert_earlier_rounds_are_support(head(name), *episodes())


@HEADS
def test_queries_do_not_affect_each_other(name):
    model = head(name)
    embedded, labels = episodes()
    support, known = embedded[:, :2].flatten(1, 2), labels[:, :2].flatten(1, 2)
    together = model(support, known, embedded[:, 3])
    for number in range(WAY):
        torch.testing.assert_close(
            model(support, known, embedded[:, 3, number : number + 1])[:, 0], together[:, number]
        )


@HEADS
def test_episodes_of_a_batch_do_not_affect_each_other(name):
    model = head(name)
    embedded, labels = episodes()
    torch.testing.assert_close(model.rounds(embedded, labels)[1:], model.rounds(embedded[1:], labels[1:]))


@pytest.mark.parametrize("name", ["transformer", "maml", "anil", "prototypes", "linear", "nearest_mean"])
def test_the_order_of_the_support_does_not_matter(name):
    assert_order_of_support_does_not_matter(head(name), *episodes())


@RECURRENT
def test_recurrent_logits_are_those_of_the_episode_written_out_step_by_step(name):
    model = head(name)
    assert isinstance(model, RecurrentHead)
    embedded, labels = episodes()
    logits = model.rounds(embedded, labels)
    for episode in range(BATCH):
        state = model.network.initial_state(1)
        for number in range(ROUNDS):
            for clip in range(WAY):
                query = torch.cat([4.0 * embedded[episode, number, clip], torch.zeros(WAY, dtype=torch.float64)])[None]
                torch.testing.assert_close(logits[episode, number, clip], model.network(query, state)[0][0])
            for clip in range(WAY):
                shown = torch.cat([4.0 * embedded[episode, number, clip], labels[episode, number, clip]])[None]
                _, state = model.network(shown, state)


def test_prototype_logits_are_negative_squared_distances_to_the_means():
    embedded, labels = episodes()
    support, known, queries = embedded[:, :3].flatten(1, 2), labels[:, :3].flatten(1, 2), embedded[:, 3]
    logits = PrototypeHead()(support, known, queries)
    for b in range(BATCH):
        for way in range(WAY):
            mean = np.mean([support[b, s].numpy() for s in range(9) if known[b, s, way]], axis=0)
            for query in range(WAY):
                distance = np.square(queries[b, query].numpy() - mean).sum()
                assert float(logits[b, query, way]) == pytest.approx(-distance)


def test_nearest_mean_logits_are_products_with_the_means():
    embedded, labels = episodes()
    support, known, queries = embedded[:, :3].flatten(1, 2), labels[:, :3].flatten(1, 2), embedded[:, 3]
    logits = NearestMeanHead()(support, known, queries)
    means = class_means(support, known)
    for b in range(BATCH):
        np.testing.assert_allclose(logits[b], queries[b].numpy() @ means[b].numpy().T)


def test_the_mean_of_a_class_without_support_is_zero():
    support = torch.ones(1, 2, 4)
    means = class_means(support, F.one_hot(torch.tensor([[0, 0]]), 3).float())
    assert means[0].tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4]


def test_linear_logits_are_those_of_the_normal_equations():
    embedded, labels = episodes()
    support, known, queries = embedded[:, :3].flatten(1, 2), labels[:, :3].flatten(1, 2), embedded[:, 3]
    model = head("linear")
    logits = model(support, known, queries)
    for b in range(BATCH):
        inputs = support[b].numpy()
        weights = np.linalg.solve(inputs.T @ inputs + model.penalty * np.eye(E), inputs.T @ known[b].numpy())
        np.testing.assert_allclose(logits[b], queries[b].numpy() @ weights)


@HEADS
def test_without_support_a_prediction_is_at_chance(name):
    """Over all permutations of the labels, any prediction is right in one of WAY."""
    embedded, labels = episodes()
    logits = head(name).rounds(embedded, labels)[:, 0]
    assert torch.equal(head(name).rounds(embedded, labels.roll(1, 3))[:, 0], logits)
