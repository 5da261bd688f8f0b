"""Temporal-relational cross-transformers, against the paper's equations in loops."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.fewshot.trx import TRXHead

E, WIDTH, WAY = 6, 5, 3


def head(cardinalities=(2, 3)):
    torch.manual_seed(0)
    model = TRXHead(E, width=WIDTH, cardinalities=cardinalities, scale=2.0).double()
    for parameter in model.parameters():  # norms with unequal weights
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_norm(vector, weight, bias):
    return (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5) * weight + bias


def positioned(clip, scale):
    """Scaled frames (T, E) plus 0.1 times sines and cosines of the frame's number."""
    places = np.zeros_like(clip)
    for time in range(len(clip)):
        for value in range(E):
            angle = time / 10000 ** ((value - value % 2) / E)
            places[time, value] = np.sin(angle) if value % 2 == 0 else np.cos(angle)
    return scale * clip + 0.1 * places


def tuples(clip, number):
    return [
        np.concatenate([clip[time] for time in times]) for times in itertools.combinations(range(len(clip)), number)
    ]


def distance(parameters, number, query, support):
    """Mean distance between the query's tuples and the prototypes of one class: clip (T, E), clips of the class."""
    key, value = parameters["key.weight"], parameters["value.weight"]

    def keyed(pair):
        return layer_norm(key @ pair + parameters["key.bias"], parameters["norm.weight"], parameters["norm.bias"])

    def valued(pair):
        return value @ pair + parameters["value.bias"]

    known = [pair for clip in support for pair in tuples(clip, number)]
    found = []
    for pair in tuples(query, number):
        scores = np.array([keyed(other) @ keyed(pair) / np.sqrt(WIDTH) for other in known])
        weights = np.exp(scores) / np.exp(scores).sum()
        prototype = sum(weight * valued(other) for weight, other in zip(weights, known, strict=True))
        found.append(np.sqrt(((prototype - valued(pair)) ** 2).sum()))
    return np.mean(found)


@pytest.mark.parametrize("cardinalities", [(2,), (3,), (2, 3)])
def test_logits_are_the_negative_distances_of_the_paper(cardinalities):
    model = head(cardinalities)
    support, queries = drawn(2, 5, 4, E), drawn(2, 3, 4, E, seed=2)
    numbers = torch.tensor([[0, 1, 2, 1, 1], [2, 0, 0, 1, 2]])
    logits = model(support, F.one_hot(numbers, WAY).double(), queries)
    scale = model.scale.item()
    for episode, query, label in itertools.product(range(2), range(3), range(WAY)):
        clips = [
            positioned(clip.numpy(), scale)
            for clip, number in zip(support[episode], numbers[episode], strict=True)
            if number == label
        ]
        asked = positioned(queries[episode, query].numpy(), scale)
        expected = sum(
            distance({name: value.detach().numpy() for name, value in part.named_parameters()}, number, asked, clips)
            for number, part in zip(cardinalities, model.transformers, strict=True)
        )
        assert logits[episode, query, label].item() == pytest.approx(-expected, rel=1e-9)


def test_gradients_are_right_by_finite_differences():
    model = head()
    support, queries = drawn(1, 4, 4, E).requires_grad_(), drawn(1, 2, 4, E, seed=2).requires_grad_()
    labels = F.one_hot(torch.tensor([[0, 1, 2, 0]]), WAY).double()
    assert torch.autograd.gradcheck(lambda s, q: model(s, labels, q), (support, queries))


def test_large_scores_are_safe_in_single_precision():
    model = head((2,)).float()
    model.scale.data.fill_(1.0)
    model.transformers[0].norm.weight.data.fill_(30.0)  # scores of the hundreds
    support, queries = drawn(1, 6, 4, E).float(), drawn(1, 2, 4, E, seed=2).float().requires_grad_()
    labels = F.one_hot(torch.tensor([[0, 1, 2, 0, 1, 2]]), WAY)
    logits = model(support, labels.float(), queries)
    logits.sum().backward()
    assert queries.grad.isfinite().all()
    exact = model.double()(support.double(), labels.double(), queries.double())
    torch.testing.assert_close(logits.double(), exact, rtol=1e-4, atol=1e-4)


def test_without_support_all_classes_are_alike():
    logits = head()(drawn(2, 0, 4, E), torch.zeros(2, 0, WAY, dtype=torch.float64), drawn(2, 3, 4, E))
    assert logits.shape == (2, 3, WAY)
    assert torch.equal(logits, logits[:, :, :1].expand_as(logits))


def test_the_prototypes_of_a_class_without_support_are_zero():
    model = head((2,))
    support, queries = drawn(1, 2, 4, E), drawn(1, 1, 4, E, seed=2)
    logits = model(support, F.one_hot(torch.tensor([[0, 1]]), WAY).double(), queries)
    part = {name: value.detach().numpy() for name, value in model.transformers[0].named_parameters()}
    asked = positioned(queries[0, 0].numpy(), model.scale.item())
    values = [part["value.weight"] @ pair + part["value.bias"] for pair in tuples(asked, 2)]
    assert logits[0, 0, 2].item() == pytest.approx(-np.mean([np.linalg.norm(value) for value in values]))


def test_clips_shorter_than_a_tuple_are_refused():
    with pytest.raises(ValueError, match="clips have 2 frames: must be at least 3"):
        head()(drawn(1, 2, 2, E), torch.ones(1, 2, WAY, dtype=torch.float64), drawn(1, 1, 2, E))
