"""Episodes as one sequence: which labels a step sees, instances, and what ruling out labels gives."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.training.fewshot.contract import assert_sequence_equals_single_steps
from tests.training.fewshot.oracle import UNITS, differ, mann, values
from tests.training.fewshot.small import settings
from training.fewshot.episodes import Episodes, EpisodeSampler
from training.fewshot.heads import build_head
from training.fewshot.lstm import LSTMMemory
from training.fewshot.mann import MANN
from training.fewshot.predict import accuracies, predict
from training.fewshot.protonet import PrototypeHead
from training.fewshot.recurrent import RecurrentHead, TwoStepHead
from training.fewshot.sequential import (
    exclusion_accuracy,
    instance_accuracies,
    instances,
    predict_sequences,
    to_sequences,
)

BATCH, STEPS, WAY, E = 2, 7, 3, 6
NAMES = ("mann", "lstm", "transformer", "prototypes", "linear", "nearest_mean")
HEADS = pytest.mark.parametrize("name", NAMES)
RECURRENT = pytest.mark.parametrize("name", ["mann", "lstm"])


def head(name):
    return build_head(name, settings()).double().eval()


def sequences():
    """Embeddings (B, S, E) and one-hot labels (B, S, way)."""
    generator = torch.Generator().manual_seed(0)
    embedded = torch.randn(BATCH, STEPS, E, generator=generator, dtype=torch.float64)
    labels = torch.randint(WAY, (BATCH, STEPS), generator=generator)
    return embedded, F.one_hot(labels, WAY).double()


@HEADS
@pytest.mark.parametrize("step", range(STEPS))
def test_labels_that_arrive_later_do_not_reach_a_step_s_logits_and_earlier_ones_do(name, step):
    embedded, labels = sequences()
    labels.requires_grad_()
    logits = head(name).sequence(embedded, labels)
    (logits[:, step] * torch.randn(BATCH, WAY, dtype=torch.float64)).sum().backward()
    assert not labels.grad[:, step:].any()  # exactly zero
    assert (labels.grad[:, :step].abs().sum(2) > 0).all()


@HEADS
def test_embeddings_that_come_later_do_not_reach_a_step_s_logits(name):
    embedded, labels = sequences()
    embedded.requires_grad_()
    head(name).sequence(embedded, labels)[:, 3].sum().backward()
    assert not embedded.grad[:, 4:].any()
    assert embedded.grad[:, 3].any()


@pytest.mark.parametrize("name", ["transformer", "prototypes", "linear", "nearest_mean"])
def test_heads_without_recurrence_classify_each_step_with_the_earlier_ones_as_support(name):
    model, (embedded, labels) = head(name), sequences()
    logits = model.sequence(embedded, labels)
    assert logits.shape == (BATCH, STEPS, WAY)
    for step in range(STEPS):
        expected = model(embedded[:, :step], labels[:, :step], embedded[:, step : step + 1])[:, 0]
        torch.testing.assert_close(logits[:, step], expected)


@RECURRENT
def test_a_step_s_inputs_are_its_embedding_and_the_label_of_the_step_before(name):
    model, (embedded, labels) = head(name), sequences()
    logits = model.sequence(embedded, labels)
    for episode in range(BATCH):
        state, label = model.network.initial_state(1), torch.zeros(WAY, dtype=torch.float64)
        for step in range(STEPS):
            shown = torch.cat([model.scale * embedded[episode, step], label])[None]
            expected, state = model.network(shown, state)
            torch.testing.assert_close(logits[episode, step], expected[0])
            label = labels[episode, step]


@RECURRENT
def test_two_steps_per_clip_classify_it_with_the_earlier_ones_as_support(name):
    (embedded, labels), late = sequences(), head(name)
    model = TwoStepHead(late.network, float(late.scale.detach())).double()
    logits = model.sequence(embedded, labels)
    for step in range(STEPS):
        expected = model(embedded[:, :step], labels[:, :step], embedded[:, step : step + 1])[:, 0]
        torch.testing.assert_close(logits[:, step], expected)
    assert not torch.allclose(logits, late.sequence(embedded, labels))


VARIANTS = pytest.mark.parametrize(
    ("write", "softmax"),
    [("shared", "sharpened"), ("per_head", "sharpened"), ("shared", "plain"), ("per_head", "plain")],
)


def oracle_head(write, softmax):
    torch.manual_seed(0)
    network = MANN(E + WAY, WAY, rows=6, width=3, controller=UNITS, heads=2, decay=0.9, write=write, softmax=softmax)
    return RecurrentHead(network, 4.0).double()


@VARIANTS
def test_the_memory_in_a_sequence_follows_the_equations(write, softmax):
    model, (embedded, labels) = oracle_head(write, softmax), sequences()

    def expected(weights):
        late = np.concatenate([np.zeros((1, WAY)), labels[0, :-1].numpy()])
        inputs = np.concatenate([weights["scale"] * embedded[0].numpy(), late], 1)
        return mann(weights, inputs, write, prefix="network.")[0]

    logits = model.sequence(embedded[:1], labels[:1])[0]
    np.testing.assert_allclose(logits.detach().numpy(), expected(values(model)), rtol=1e-6)
    factors = torch.randn(STEPS, WAY, dtype=torch.float64)
    (logits * factors).sum().backward()
    differ(model, lambda weights: (expected(weights) * factors.numpy()).sum())


@VARIANTS
def test_the_memory_after_a_support_follows_the_equations(write, softmax):
    model, (embedded, labels) = oracle_head(write, softmax), sequences()
    support, queries = embedded[:1, :4], embedded[:1, 4:]

    def expected(weights):
        shown = np.concatenate([weights["scale"] * support[0].numpy(), labels[0, :4].numpy()], 1)
        blank = [np.concatenate([weights["scale"] * query.numpy(), np.zeros(WAY)]) for query in queries[0]]
        return np.array([mann(weights, [*shown, query], write, prefix="network.")[0][-1] for query in blank])

    logits = model(support, labels[:1, :4], queries)[0]
    np.testing.assert_allclose(logits.detach().numpy(), expected(values(model)), rtol=1e-6)
    factors = torch.randn(logits.shape, dtype=torch.float64)
    (logits * factors).sum().backward()
    differ(model, lambda weights: (expected(weights) * factors.numpy()).sum())


def test_an_unrolled_lstm_gives_the_logits_and_the_state_of_single_steps():
    torch.manual_seed(0)
    network = LSTMMemory(4, 3, units=5, layers=2).double()
    assert_sequence_equals_single_steps(network, torch.randn(2, 6, 4, dtype=torch.float64))


def test_a_sequence_has_every_clip_of_its_episode_once_in_an_order_of_its_own():
    classes = torch.arange(8).repeat_interleave(5)
    episodes = EpisodeSampler(classes, 4, 5).draw(6, torch.Generator().manual_seed(0))
    found = to_sequences(episodes, torch.Generator().manual_seed(1))
    assert len(found) == 6
    for number in range(6):
        labels = dict(
            zip(episodes.clips[number].flatten().tolist(), episodes.labels[number].flatten().tolist(), strict=True)
        )
        assert sorted(found.clips[number].tolist()) == sorted(labels)
        assert [labels[clip] for clip in found.clips[number].tolist()] == found.labels[number].tolist()
        assert found.clips[number].tolist() != episodes.clips[number].flatten().tolist()
    first = [sorted(found.labels[number, :4].tolist()) for number in range(6)]
    assert any(labels != [0, 1, 2, 3] for labels in first)  # a class comes again before another has come at all


def test_instances_count_the_clips_of_a_class_up_to_each_step():
    assert instances(torch.tensor([[2, 0, 2, 2, 0, 1]]), 3).tolist() == [[1, 1, 2, 3, 2, 1]]


def test_accuracies_by_instance_are_means_over_the_classes():
    labels = torch.tensor([[2, 0, 2, 1, 0, 1]])
    predicted = torch.tensor(
        [[2, 1, 2, 1, 1, 0]]
    )  # first instances of 2, 0, 1: right, wrong, right; second: right, wrong, wrong
    assert instance_accuracies(predicted, labels, 3)[0].tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("way", [2, 3, 4])
def test_ruling_out_labels_gives_what_an_enumeration_of_all_orders_and_labels_gives(way):
    """One who knows whether a clip's class is new guesses it among the labels that have not occurred."""
    total, count = Fraction(0), 0
    for labels in permutations(range(way)):  # of the classes, in the order of their first instances
        for number, label in enumerate(labels):
            left = set(range(way)) - set(labels[:number])
            total += Fraction(label in left, len(left))
            count += 1
    assert exclusion_accuracy(way) == total / count


def test_of_five_labels_ruling_out_gives_137_of_300():
    assert exclusion_accuracy(5) == Fraction(137, 300)


def test_prototypes_of_separable_classes_are_right_from_the_second_instance_on():
    torch.manual_seed(0)
    classes = torch.arange(6).repeat_interleave(4)
    embedded = 10 * torch.eye(6)[classes] + 0.01 * torch.randn(24, 6)
    episodes = EpisodeSampler(classes, 4, 4).draw(300, torch.Generator().manual_seed(0))
    found = to_sequences(episodes, torch.Generator().manual_seed(1))
    shares = instance_accuracies(predict_sequences(PrototypeHead(), embedded, found, 4), found.labels, 4).mean(0)
    assert shares[1:].tolist() == [1.0] * 3
    # The mean of a class that has not come is zero, nearer than any other class's: one of the labels left is guessed.
    assert float(shares[0]) == pytest.approx(
        float(exclusion_accuracy(4)), abs=0.05
    )  # 1,200 predictions: 3.5 deviations


def test_predictions_are_those_of_the_head_on_each_sequence():
    classes = torch.arange(5).repeat_interleave(4)
    embedded = torch.randn(20, E, dtype=torch.float64)
    episodes = EpisodeSampler(classes, WAY, 4).draw(60, torch.Generator().manual_seed(0))  # more than a batch
    found, model = to_sequences(episodes, torch.Generator().manual_seed(1)), head("mann")
    predicted = predict_sequences(model, embedded, found, WAY)
    assert predicted.shape == (60, 12)
    known = F.one_hot(found.labels[55:56], WAY).double()
    assert predicted[55].tolist() == model.sequence(embedded[found.clips[55:56]], known).argmax(2)[0].tolist()


def test_rounds_and_a_sequence_in_the_order_of_rounds_agree_on_classes_that_are_known():
    """From the second round on, class means of whole rounds and of all clips before a step classify separable clips alike."""
    classes = torch.arange(6).repeat_interleave(4)
    embedded = torch.eye(6)[classes]
    episodes = EpisodeSampler(classes, 4, 4).draw(20, torch.Generator().manual_seed(0))
    by_round = accuracies(predict(PrototypeHead(), embedded, episodes, 4), episodes)
    flat = Episodes(episodes.clips.flatten(1), episodes.labels.flatten(1))
    known = F.one_hot(flat.labels, 4).float()
    by_step = PrototypeHead().sequence(embedded[flat.clips], known).argmax(2) == flat.labels
    assert torch.equal(by_step.unflatten(1, (4, 4))[:, 1:].float().mean(2), by_round[:, 1:])
