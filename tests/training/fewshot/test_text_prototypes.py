"""What is learned from class names, and prototypes with it as a prior."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeCV
from torch import Generator
from torch.nn import functional as F

from training.fewshot.episodes import EpisodeSampler
from training.fewshot.name_prior import _PENALTIES, fit_prior, ridge_regression
from training.fewshot.predict import accuracies, predict
from training.fewshot.protonet import PrototypeHead
from training.fewshot.text import ClassNames, name_vectors
from training.fewshot.text_prototypes import TextPrototypeHead
from training.params import ClassText

TEXT = ClassText(encoder=None, ngrams=(3, 5), words=2, buckets=512)


def data(classes=30, length=12, noise=0.5):
    """Names (C, D) and means (C, E) that follow them, but for noise."""
    generator = Generator().manual_seed(0)
    names = F.normalize(torch.randn(classes, length, generator=generator, dtype=torch.float64), dim=1)
    means = names @ torch.randn(length, 4, generator=generator, dtype=torch.float64)
    return names, means + noise * torch.randn(means.shape, generator=generator, dtype=torch.float64) + 3.0


@pytest.mark.parametrize("length", [12, 80])
def test_the_regression_is_that_of_scikit_learn_with_the_penalty_of_least_error_at_the_one_left_out(length):
    names, means = data(length=length)
    weight, bias, error = ridge_regression(names, means)
    model = RidgeCV(_PENALTIES.numpy(), store_cv_results=True).fit(names, means)
    np.testing.assert_allclose(weight.T, model.coef_, atol=1e-8)
    np.testing.assert_allclose(bias, model.intercept_, atol=1e-8)
    assert float(error) == pytest.approx(model.cv_results_.mean((0, 1)).min())


def test_the_error_is_that_at_each_class_of_a_regression_on_the_others():
    names, means = (values.numpy() for values in data())
    _, _, error = ridge_regression(*data())
    found = []
    for penalty in _PENALTIES.tolist():
        squares = []
        for left_out in range(len(names)):
            others = np.arange(len(names)) != left_out
            model = Ridge(penalty).fit(names[others], means[others])
            squares.append(np.square(model.predict(names[[left_out]]) - means[left_out]))
        found.append(np.mean(squares))
    assert float(error) == pytest.approx(min(found), rel=1e-6)


def clips_around(means, number, deviation, seed=1):
    classes = torch.arange(len(means)).repeat_interleave(number)
    noise = torch.randn(len(classes), means.shape[1], generator=Generator().manual_seed(seed), dtype=torch.float64)
    return means[classes] + deviation * noise, classes


def test_a_name_counts_as_the_variance_of_clips_over_that_of_the_means_about_what_it_predicts():
    """Clips deviate by 0.6 from their means, these by 0.3 from what names say: k is 4, less what estimating W costs."""
    names, means = data(classes=2000, noise=0.3)
    prior = fit_prior(names, *clips_around(means, 8, 0.6))
    assert prior.clips == pytest.approx(0.6**2 / 0.3**2, rel=0.1)
    explained = 1 - (0.3**2 + 0.6**2 / 8) / float(means.var(0).mean() + 0.6**2 / 8)
    assert prior.explained == pytest.approx(explained, abs=0.02)


def test_names_that_tell_nothing_move_all_prototypes_alike():
    """W is near zero, so that the prior of every class is the mean of all."""
    _, means = data(classes=200)
    names = F.normalize(torch.randn(200, 50, generator=Generator().manual_seed(5), dtype=torch.float64), dim=1)
    prior = fit_prior(names, *clips_around(means, 8, 0.5))
    assert prior.explained == pytest.approx(0.0, abs=0.02)
    expected = names.float() @ prior.weight + prior.bias
    assert float((expected - means.mean(0)).abs().max()) < 0.05
    assert prior.clips == pytest.approx(0.5**2 / float(means.var(0).mean()), rel=0.1)


def head():
    """W, b and k of a head that was fitted."""
    model = TextPrototypeHead(7, 4).double()
    generator = Generator().manual_seed(0)
    model.weight.copy_(torch.randn(7, 4, generator=generator))
    model.bias.copy_(torch.randn(4, generator=generator))
    model.clips.fill_(2.0)
    return model


def episode(shots=2):
    """Support (1, 3 * shots, 4), one-hot labels, queries (1, 5, 4) and names (1, 3, 7)."""
    generator = torch.Generator().manual_seed(0)
    support, queries, names = (
        torch.randn(1, number, values, generator=generator, dtype=torch.float64)
        for number, values in ((3 * shots, 4), (5, 4), (3, 7))
    )
    return support, F.one_hot(torch.arange(3 * shots) % 3, 3).double()[None], queries, names


def test_a_prototype_is_the_posterior_mean_of_clips_and_name():
    model = head()
    support, labels, queries, names = episode()
    logits = model.named(names)(support, labels, queries)
    for way in range(3):
        prior = model.weight.T @ names[0, way] + model.bias
        prototype = (2.0 * prior + support[0, way] + support[0, way + 3]) / (2.0 + 2)
        for query in range(5):
            distance = float((queries[0, query] - prototype).square().sum())
            assert float(logits[0, query, way]) == pytest.approx(-distance)


def test_without_clips_the_prototype_is_the_name_s_and_with_many_the_clips():
    model = head()
    support, labels, queries, names = episode()
    by_name = model.named(names)(support[:, :0], labels[:, :0], queries)
    torch.testing.assert_close(by_name, -torch.cdist(queries, names @ model.weight + model.bias).square())
    many = model.named(names)(support.repeat(1, 10000, 1), labels.repeat(1, 10000, 1), queries)
    torch.testing.assert_close(many, PrototypeHead()(support, labels, queries), atol=1e-2, rtol=1e-2)


def test_without_names_or_before_it_is_fitted_prototypes_are_class_means():
    support, labels, queries, names = episode()
    expected = PrototypeHead()(support, labels, queries)
    torch.testing.assert_close(head()(support, labels, queries), expected)
    new = TextPrototypeHead(7, 4).double()
    torch.testing.assert_close(new.named(names)(support, labels, queries), expected)
    assert not new.named(names)(support[:, :0], labels[:, :0], queries).diff(dim=2).any()


def test_heads_without_use_for_names_are_the_same_with_them():
    model = PrototypeHead()
    assert model.named(episode()[3]) is model


PARTS = {"arms": ("waving", "circling", "swinging", "pumping"), "legs": ("marching", "squatting", "kicking", "hopping")}
TEMPOS = ("slowly", "fast", "steadily")


def world():
    """Clips (N, E), their classes, and names of 144 classes: two movements each, whose directions a class's mean is the sum of."""
    generator = Generator().manual_seed(0)
    movements = [[f"{verb} {tempo}" for verb in verbs for tempo in TEMPOS] for verbs in PARTS.values()]
    directions = F.normalize(torch.randn(2, 12, 16, generator=generator), dim=2)
    names = [f"{arms}, {legs}" for arms in movements[0] for legs in movements[1]]
    means = (directions[0][:, None] + directions[1][None]).flatten(0, 1)
    classes = torch.arange(144).repeat_interleave(6)
    noise = torch.randn(len(classes), 16, generator=generator)
    return F.normalize(means[classes] + 2.4 * noise / math.sqrt(16), dim=1), classes, names


def measure(names):
    """Accuracies at each instance on a third of the classes, by the prior of the others' names, and by class means."""
    embedded, classes, _ = world()
    held_out = torch.randperm(144, generator=Generator().manual_seed(3))[:48]
    test = torch.isin(classes, held_out)
    numbers = classes[~test].unique(return_inverse=True)
    vectors = name_vectors(names, TEXT)
    model = TextPrototypeHead(512, 16)
    explained = model.fit(vectors[numbers[0]], embedded[~test], numbers[1])
    episodes = EpisodeSampler(classes, 5, 6, clips=test.nonzero()[:, 0]).draw(1000, Generator().manual_seed(0))
    told = ClassNames(vectors, classes)
    hits = (
        accuracies(predict(one, embedded, episodes, 5, told), episodes).mean(0).tolist()
        for one in (model, PrototypeHead())
    )
    return explained, *hits


def test_names_that_say_what_a_class_looks_like_help_where_clips_are_few():
    explained, told, untold = measure(world()[2])
    assert explained > 0.4
    assert untold[0] == pytest.approx(0.2)
    assert told[0] > 0.6  # zero-shot
    assert told[1] > untold[1] + 0.15
    assert told[5] > untold[5]


def test_names_of_other_classes_do_no_harm():
    """5,000 predictions: the difference of paired accuracies has a deviation of at most 0.01."""
    names = world()[2]
    order = torch.randperm(len(names), generator=Generator().manual_seed(7)).tolist()
    explained, told, untold = measure([names[number] for number in order])
    assert abs(explained) < 0.05
    assert told[0] == pytest.approx(0.2, abs=0.06)
    assert all(with_names > without - 0.02 for with_names, without in zip(told[1:], untold[1:], strict=True))
