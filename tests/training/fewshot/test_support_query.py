"""The published code's form: its two LSTMs, and queries that follow each other in one sequence."""

import numpy as np
import torch
from torch.nn import functional as F

from tests.training.fewshot.contract import assert_sequence_equals_single_steps
from tests.training.fewshot.oracle import cell_step, differ, values
from training.fewshot.support_query import LSTMPair, SupportQueryHead

BATCH, SUPPORT, QUERIES, WAY, E = 2, 4, 3, 3, 5


def head():
    torch.manual_seed(0)
    return SupportQueryHead(LSTMPair(E + WAY, WAY, units=6), 2.0).double()


def episodes():
    """Support (B, S, E), its one-hot labels (B, S, way), and queries (B, Q, E)."""
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(BATCH, SUPPORT, E, generator=generator, dtype=torch.float64)
    queries = torch.randn(BATCH, QUERIES, E, generator=generator, dtype=torch.float64)
    labels = torch.randint(WAY, (BATCH, SUPPORT), generator=generator)
    return support, F.one_hot(labels, WAY).double(), queries


def expected(weights, support, labels, queries):
    """Logits (B, Q, way) by loops: support clips with labels, then queries with zeros, through two LSTMs."""
    with_labels = np.concatenate([support, labels], 2)
    without = np.concatenate([queries, np.zeros((BATCH, QUERIES, WAY))], 2)
    inputs = np.concatenate([with_labels, without], 1)
    inputs[:, :, :E] *= weights["scale"]
    hidden = cell = np.zeros((BATCH, 6))
    upper_hidden = upper_cell = np.zeros((BATCH, WAY))
    logits = []
    for step in range(SUPPORT + QUERIES):
        hidden, cell = cell_step(inputs[:, step], hidden, cell, weights, "network.first.{}_l0")
        upper_hidden, upper_cell = cell_step(hidden, upper_hidden, upper_cell, weights, "network.second.{}_l0")
        logits.append(upper_hidden)
    return np.stack(logits[SUPPORT:], 1)


def test_values_and_gradients_are_those_of_the_equations():
    model, (support, labels, queries) = head(), episodes()
    parts = support.numpy(), labels.numpy(), queries.numpy()
    logits = model(support, labels, queries)
    np.testing.assert_allclose(logits.detach(), expected(values(model), *parts), rtol=1e-8)
    factors = torch.randn(BATCH, QUERIES, WAY, dtype=torch.float64)
    (logits * factors).sum().backward()
    differ(model, lambda weights: (expected(weights, *parts) * factors.numpy()).sum())


def test_a_query_s_logits_depend_on_the_queries_before_it_and_not_on_later_ones():
    model, (support, labels, queries) = head(), episodes()
    queries.requires_grad_()
    model(support, labels, queries)[:, 1].sum().backward()
    assert queries.grad[:, :2].abs().sum(2).all()
    assert not queries.grad[:, 2:].any()


def test_labels_of_a_round_and_of_later_ones_do_not_reach_its_logits():
    model, generator = head(), torch.Generator().manual_seed(0)
    embedded = torch.randn(BATCH, 3, WAY, E, generator=generator, dtype=torch.float64)
    labels = F.one_hot(torch.rand(BATCH, 3, WAY, generator=generator).argsort(2), WAY).double().requires_grad_()
    model.rounds(embedded, labels)[:, 1].square().sum().backward()
    assert not labels.grad[:, 1:].any()
    assert labels.grad[:, 0].abs().sum(2).all()


def test_single_steps_give_the_logits_and_the_state_of_a_sequence():
    assert_sequence_equals_single_steps(head().network, torch.randn(2, 5, E + WAY, dtype=torch.float64))


@torch.no_grad()
def test_of_five_classes_none_gets_a_probability_above_65_percent():
    network = LSTMPair(4, 5, units=6)
    logits = network.unroll(100 * torch.randn(50, 6, 4), network.initial_state(50))[0]
    assert float(logits.abs().max()) <= 1
    best = torch.tensor([1.0, -1.0, -1.0, -1.0, -1.0]).softmax(0)[0]
    assert float(logits.softmax(2).max()) <= float(best) < 0.65
