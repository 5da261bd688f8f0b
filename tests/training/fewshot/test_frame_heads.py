"""OTAM and TRX in episodes: labels, the order of frames and of the support; classes told by order alone."""

import math

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from tests.training.fewshot.contract import (
    assert_earlier_rounds_are_support,
    assert_order_of_support_does_not_matter,
)
from training.fewshot.adapter import mean_frame
from training.fewshot.otam import OTAMHead
from training.fewshot.protonet import PrototypeHead
from training.fewshot.trx import TRXHead

BATCH, ROUNDS, WAY, TIMES, E = 2, 4, 3, 4, 6
BUILD = {
    "otam": lambda: OTAMHead(0.1),
    "trx": lambda: TRXHead(E, width=8, cardinalities=(2, 3), scale=4.0),
}
HEADS = pytest.mark.parametrize("name", BUILD)


def head(name):
    torch.manual_seed(0)
    return BUILD[name]().double()


def episodes():
    """Frame-wise embeddings (B, rounds, way, T, E) and one-hot labels (B, rounds, way, way), each round a permutation."""
    generator = Generator().manual_seed(0)
    embedded = torch.randn(BATCH, ROUNDS, WAY, TIMES, E, generator=generator, dtype=torch.float64)
    return embedded, F.one_hot(torch.rand(BATCH, ROUNDS, WAY, generator=generator).argsort(2), WAY).double()


@HEADS
@pytest.mark.parametrize("number", range(ROUNDS))
def test_only_labels_of_earlier_rounds_reach_a_round_s_logits(name, number):
    embedded, labels = episodes()
    labels.requires_grad_()
    logits = head(name).rounds(embedded, labels)[:, number]
    (logits * torch.randn(logits.shape, dtype=torch.float64)).sum().backward()
    assert not labels.grad[:, number:].any()  # exactly zero
    assert (labels.grad[:, :number].abs().sum(3) > 0).all()


@HEADS
def test_each_round_is_classified_with_all_earlier_rounds_as_support(name):
    logits = assert_earlier_rounds_are_support(head(name), *episodes())
    assert torch.equal(logits[:, 0], logits[:, 0, :, :1].expand_as(logits[:, 0]))  # the first round is at chance


@HEADS
def test_queries_and_episodes_do_not_affect_each_other(name):
    model = head(name)
    embedded, labels = episodes()
    support, known = embedded[:, :2].flatten(1, 2), labels[:, :2].flatten(1, 2)
    together = model(support, known, embedded[:, 3])
    torch.testing.assert_close(model(support, known, embedded[:, 3, 1:2]), together[:, 1:2])
    torch.testing.assert_close(model(support[1:], known[1:], embedded[1:, 3]), together[1:])


@HEADS
def test_the_order_of_the_support_does_not_matter_and_that_of_frames_does(name):
    model = head(name)
    embedded, labels = episodes()
    expected = assert_order_of_support_does_not_matter(model, embedded, labels)
    support, known = embedded[:, :3].flatten(1, 2), labels[:, :3].flatten(1, 2)
    assert not torch.allclose(model(support, known, embedded[:, 3].flip(2)), expected)


def draw_orders(number: int, generator: Generator, *, rounds: int, times: int = 6) -> tuple[Tensor, Tensor]:
    """Episodes whose classes are orders of the same frames: (B, rounds, 5, times, 16), and labels (B, rounds, 5).

    The mean over time is the same for all classes, but for noise.
    """
    frames = torch.linalg.qr(torch.randn(number, 16, times, generator=generator))[0].transpose(1, 2)
    orders = torch.rand(number, 5, times, generator=generator).argsort(2)
    labels = torch.rand(number, rounds, 5, generator=generator).argsort(2)
    episode = torch.arange(number)[:, None, None]
    embedded = frames[episode[..., None], orders[episode, labels]]
    noise = torch.randn(embedded.shape, generator=generator) * 0.3 / 4
    return F.normalize(embedded + noise, dim=4), labels


def accuracies(model, *, shuffled=False):
    """Accuracy at each instance over 200 episodes; shuffled: the labels of every round are unrelated to the classes."""
    embedded, labels = draw_orders(200, Generator().manual_seed(9), rounds=4)
    if shuffled:
        labels = torch.rand(labels.shape, generator=Generator().manual_seed(8)).argsort(2)
    with torch.no_grad():
        hits = model(embedded, F.one_hot(labels, 5).float()).argmax(3) == labels
    return hits.float().mean((0, 2)).tolist()


CHANCE = pytest.approx(0.2, abs=0.06)  # 1,000 predictions: five deviations


def test_class_means_cannot_tell_orders_apart():
    by_instance = accuracies(lambda embedded, labels: PrototypeHead().rounds(mean_frame(embedded), labels))
    assert all(share == CHANCE for share in by_instance)


def test_alignment_tells_orders_apart():
    model = OTAMHead(0.1)
    by_instance = accuracies(model.rounds)
    assert by_instance[0] == CHANCE
    assert min(by_instance[1:]) > 0.95
    assert all(share == CHANCE for share in accuracies(model.rounds, shuffled=True))


def test_tuples_of_frames_learn_to_tell_orders_apart():
    torch.manual_seed(0)
    model = TRXHead(16, width=32, cardinalities=(2,), scale=4.0)
    generator, optimiser = Generator().manual_seed(1), torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(150):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * 0.5 * (1 + math.cos(math.pi * step / 150))
        embedded, labels = draw_orders(8, generator, rounds=2)
        logits = model.rounds(embedded, F.one_hot(labels, 5).float())
        loss = F.cross_entropy(logits.flatten(0, 2), labels.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    by_instance = accuracies(model.rounds)
    assert by_instance[0] == CHANCE
    assert min(by_instance[1:]) > 0.9
    assert all(share == CHANCE for share in accuracies(model.rounds, shuffled=True))
