"""MAML and ANIL: the inner steps and the gradients through them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.training.fewshot.synthetic import EMBEDDING, WAY, accuracy, fit
from training.fewshot.anil import ANILHead
from training.fewshot.maml import GradientHead, MAMLHead

CHANCE = pytest.approx(1 / WAY, abs=0.03)  # 5,000 predictions: five deviations
B, S, Q, E, CLASSES = 2, 6, 4, 3, 3
KINDS = pytest.mark.parametrize("kind", [MAMLHead, ANILHead])
ORDERS = pytest.mark.parametrize("order", ["first", "second"])


def head(kind, **options):
    torch.manual_seed(0)
    chosen = {"hidden": 5, "scale": 2.0, "steps": 2, "inner_lr": 0.25} | options
    return kind(E, CLASSES, **chosen).double()


def episodes(seed=0):
    """Support (B, S, E), its one-hot labels, queries (B, Q, E) and their labels (B, Q)."""
    generator = torch.Generator().manual_seed(seed)
    support = torch.randn(B, S, E, generator=generator, dtype=torch.float64)
    labels = F.one_hot(torch.arange(S) % CLASSES, CLASSES).double().expand(B, S, CLASSES)
    queries = torch.randn(B, Q, E, generator=generator, dtype=torch.float64)
    return support, labels, queries, torch.randint(CLASSES, (B, Q), generator=generator)


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def by_hand(model, support, labels, queries, *, detach):
    """An episode's logits by plain autograd, step by step."""
    inputs, asked = model.trunk(model.scale * support), model.trunk(model.scale * queries)
    first, second = (None, model.network) if isinstance(model, ANILHead) else (model.network[0], model.network[2])
    layers = [layer for layer in (first, second) if layer is not None]
    weights = [weight for layer in layers for weight in (layer.weight, layer.bias)]
    number = itertools.accumulate([0, *(weight.numel() for weight in weights)])
    rates = (
        [model.rates] * len(weights)
        if not model.rates.dim()
        else [
            model.rates[start : start + weight.numel()].reshape(weight.shape)
            for weight, start in zip(weights, number, strict=False)
        ]
    )

    def logits_of(values, weights):
        for layer in range(len(weights) // 2):
            if layer:
                values = F.gelu(values)
            values = values @ weights[2 * layer].T + weights[2 * layer + 1]
        return values

    for _ in range(model.steps):
        loss = F.cross_entropy(logits_of(inputs, weights), labels.argmax(1))
        gradients = torch.autograd.grad(loss, weights, create_graph=not detach, retain_graph=True)
        weights = [weight - rate * part for weight, rate, part in zip(weights, rates, gradients, strict=True)]
    return logits_of(asked, weights)


def test_a_step_of_a_linear_model_is_that_of_softmax_regression():
    model = head(ANILHead, steps=1)
    support, labels, queries, _ = episodes()
    weight, bias = model.network.weight.detach().numpy(), model.network.bias.detach().numpy()
    logits = model(support, labels, queries).detach()
    for b in range(B):
        inputs, asked = (model.trunk(2.0 * part[b]).detach().numpy() for part in (support, queries))
        error = softmax(inputs @ weight.T + bias) - labels[b].numpy()
        stepped = weight - 0.25 * error.T @ inputs / S, bias - 0.25 * error.mean(0)
        np.testing.assert_allclose(logits[b], asked @ stepped[0].T + stepped[1])


@KINDS
@ORDERS
@pytest.mark.parametrize("rate", ["fixed", "scalar", "per_weight"])
def test_logits_and_gradients_are_those_of_plain_autograd(kind, order, rate):
    """Of every parameter, of the support and of the queries; the first order by detached gradients."""
    model = head(kind, order=order, rate=rate)
    if rate == "per_weight":
        model.rates.data.uniform_(0.1, 0.5)
    support, labels, queries, targets = episodes()
    support.requires_grad_()
    queries.requires_grad_()
    wanted = [weight for weight in model.parameters() if weight.requires_grad] + [support, queries]
    logits = model(support, labels, queries)
    expected = torch.stack(
        [by_hand(model, support[b], labels[b], queries[b], detach=order == "first") for b in range(B)]
    )
    torch.testing.assert_close(logits, expected)
    found, known = (
        torch.autograd.grad(F.cross_entropy(part.flatten(0, 1), targets.flatten()), wanted, allow_unused=True)
        for part in (logits, expected)
    )
    for mine, theirs in zip(found, known, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if mine is None else mine, zero if theirs is None else theirs, check_dtype=False
        )


@KINDS
def test_the_second_order_gradient_is_that_of_finite_differences(kind):
    model = head(kind, rate="per_weight", steps=3)
    support, labels, queries, targets = episodes()
    names = [name for name, _ in model.named_parameters()]

    def loss(support, *weights):
        given = dict(zip(names, weights, strict=True))
        logits = torch.func.functional_call(model, given, (support, labels, queries))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    assert torch.autograd.gradcheck(loss, (support.requires_grad_(), *model.parameters()))


def test_first_and_second_order_differ_in_their_gradient_alone():
    support, labels, queries, targets = episodes()
    logits, gradients = [], []
    for order in ("first", "second"):
        model = head(MAMLHead, order=order)
        logits.append(model(support, labels, queries))
        F.cross_entropy(logits[-1].flatten(0, 1), targets.flatten()).backward()
        gradients.append(model.network[0].weight.grad)
    assert torch.equal(*logits)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


@KINDS
@ORDERS
def test_gradients_reach_the_embeddings(kind, order):
    """Those of queries always; those of the support only through the steps."""
    support, labels, queries, targets = episodes()
    support.requires_grad_()
    queries.requires_grad_()
    logits = head(kind, order=order)(support, labels, queries)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    assert (queries.grad.abs().sum(2) > 0).all()
    through = support.grad
    if kind is MAMLHead and order == "first":
        assert through is None or not through.any()
    elif order == "second":
        assert (through.abs().sum(2) > 0).all()


@KINDS
def test_anil_adapts_the_last_layer_and_maml_both(kind):
    """The first layer's own weights are in the trunk of ANIL, and no step moves them."""
    model = head(kind)
    adapted = sorted(name for name, _ in model.network.named_parameters())
    assert adapted == (["0.bias", "0.weight", "2.bias", "2.weight"] if kind is MAMLHead else ["bias", "weight"])


@KINDS
@ORDERS
def test_without_support_the_network_answers_unadapted(kind, order):
    model = head(kind, order=order)
    support, labels, queries, _ = episodes()
    logits = model(support[:, :0], labels[:, :0], queries)
    torch.testing.assert_close(logits, model.network(model.trunk(2.0 * queries)))
    assert not torch.allclose(model(support, labels, queries), logits)


@KINDS
def test_a_batch_of_episodes_is_computed_as_one_by_one(kind):
    model = head(kind)
    support, labels, queries, _ = episodes()
    each = [model(support[b : b + 1], labels[b : b + 1], queries[b : b + 1])[0] for b in range(B)]
    torch.testing.assert_close(model(support, labels, queries), torch.stack(each))


@KINDS
@ORDERS
@pytest.mark.parametrize("number", range(3))
def test_labels_of_a_round_and_of_later_ones_do_not_reach_its_logits(kind, order, number):
    model = head(kind, order=order)
    embedded = torch.randn(B, 3, CLASSES, E, dtype=torch.float64)
    labels = F.one_hot(torch.rand(B, 3, CLASSES).argsort(2), CLASSES).double().requires_grad_()
    model.rounds(embedded, labels)[:, number, :, 0].sum().backward()
    reached = torch.zeros(3) if labels.grad is None else labels.grad.abs().sum((0, 2, 3))
    assert not reached[number:].any()  # exactly zero
    if order == "second":
        assert (reached[:number] > 0).all()


@pytest.mark.parametrize(("rate", "learned"), [("fixed", 0), ("scalar", 1), ("per_weight", 18)])
def test_learned_rates_are_parameters_that_the_optimiser_does_not_decay(rate, learned):
    model = head(ANILHead, rate=rate)
    assert model.rates.requires_grad == bool(learned)
    assert model.rates.numel() == (learned or 1)
    assert model.rates.dim() <= 1
    assert model.rates.unique().tolist() == pytest.approx([0.25])


def test_any_network_can_be_adapted():
    """A linear layer alone is logistic regression by gradient descent, which separates what is separable."""
    network = nn.Linear(2, 2)
    model = GradientHead(nn.Identity(), network, scale=1.0, steps=200, inner_lr=1.0, rate="fixed", order="first")
    support = torch.tensor([[[1.0, 0.2], [0.8, -0.1], [-1.0, 0.1], [-0.7, 0.3]]])
    labels = F.one_hot(torch.tensor([[0, 0, 1, 1]]), 2).float()
    assert model(support, labels, support).argmax(2).tolist() == [[0, 0, 1, 1]]


@pytest.mark.slow
@KINDS
@ORDERS
def test_a_few_steps_bind_labels_to_clips(kind, order):
    torch.manual_seed(0)
    model = kind(EMBEDDING, WAY, hidden=64, scale=4.0, steps=5, inner_lr=0.5, order=order)
    fit(model, steps=200, batch=16, rounds=3)
    by_instance = accuracy(model)
    assert by_instance[0] == CHANCE
    assert by_instance[1] > 0.95
    assert all(share == CHANCE for share in accuracy(model, shuffled=True))
