"""The methods of the comparison."""

from typing import get_args

import pytest
import torch

from tests.training.fewshot.small import settings
from training.fewshot.anil import ANILHead
from training.fewshot.episodes import Episodes
from training.fewshot.features import FeatureShape
from training.fewshot.heads import HEADS, build_head
from training.fewshot.lstm import LSTMMemory
from training.fewshot.maml import MAMLHead
from training.fewshot.mann import MANN
from training.fewshot.methods import METHODS, build_classifier, build_learner, embedding_run
from training.fewshot.predict import accuracies, embed_clips, embed_views, predict
from training.fewshot.transformer import TransformerHead
from training.params import EncoderName, HeadName

SHAPE = FeatureShape(4, 2, 5)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_learner_classifies_queries_by_a_support_and_episodes_by_rounds(method):
    learner = build_learner(method, SHAPE, settings()).eval()
    features = torch.randn(1, 3, 3, 2, 4, 4, 5)  # (B, rounds, way, windows, times, places, F)
    labels = torch.tensor([[[0, 1, 2], [2, 0, 1], [1, 2, 0]]])
    logits, embedded = learner.rounds(features, labels)
    assert logits.shape == (1, 3, 3, 3)
    torch.testing.assert_close(embedded[0, 1, 2], learner.embedding(features[:, 1, 2])[0])
    support, known = features[:, :2].flatten(1, 2), labels[:, :2].flatten(1, 2)
    torch.testing.assert_close(learner(support, known, features[:, 2]), logits[:, 2])


def test_a_method_is_a_head_on_an_encoder():
    heads, encoders = get_args(HeadName), get_args(EncoderName)
    assert list(METHODS) == [*(f"{head}_{encoder}" for head in heads for encoder in encoders), "untrained"]
    assert set(HEADS) == set(heads)


@pytest.mark.parametrize(
    ("name", "head", "encoder", "trains_embedding", "trains_head"),
    [
        ("mann_pretrained", "mann", "pretrained", True, True),
        ("mann_random", "mann", "random", True, True),
        ("prototypes_random", "prototypes", "random", True, False),
        ("linear_pretrained", "linear", "pretrained", False, False),
        ("untrained", "mann", "pretrained", False, False),
        ("nearest_mean_random", "nearest_mean", "random", False, False),
    ],
)
def test_a_method_s_runs_are_those_of_its_parts(name, head, encoder, trains_embedding, trains_head):
    method = METHODS[name]
    assert (method.head, method.encoder) == (head, encoder)
    assert (method.trains_embedding, method.trains_head) == (trains_embedding, trains_head)
    assert embedding_run(encoder) == f"embedding_{encoder}"


def test_heads_are_as_the_settings_say():
    mann, lstm, transformer = (build_head(name, settings()) for name in ("mann", "lstm", "transformer"))
    assert isinstance(mann.network, MANN)
    assert (mann.network.rows, mann.network.width, mann.network.heads, mann.network.decay) == (6, 5, 2, 0.9)
    assert mann.network.strength.tolist() == [[10.0], [10.0]]
    assert isinstance(lstm.network, LSTMMemory)
    assert (lstm.network.lstm.hidden_size, lstm.network.lstm.num_layers) == (7, 2)
    assert mann.scale == lstm.scale == 4.0
    assert isinstance(transformer, TransformerHead)
    assert (transformer.embed.out_features, len(transformer.blocks.layers)) == (8, 1)
    maml, anil = (build_head(name, settings()) for name in ("maml", "anil"))
    assert isinstance(maml, MAMLHead)
    assert (maml.network[0].out_features, maml.steps, maml.rates.item(), maml.order) == (5, 2, 0.5, "second")
    assert isinstance(anil, ANILHead)
    assert (anil.network.in_features, anil.network.out_features) == (5, 3)


def test_the_seed_decides_a_learner_s_weights():
    for build in (lambda stage: build_head("mann", stage), lambda stage: build_classifier(SHAPE, 11, stage)):
        first, again, other = (
            torch.cat([p.flatten() for p in build(settings(seed=seed)).parameters()]) for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_predictions_are_those_of_episodes_one_by_one():
    model = build_head("mann", settings()).eval()
    generator = torch.Generator().manual_seed(0)
    embedded = torch.randn(30, 6, generator=generator)
    clips = torch.stack([torch.randperm(30, generator=generator)[:12].reshape(4, 3) for _ in range(45)])
    episodes = Episodes(clips, torch.rand(45, 4, 3, generator=generator).argsort(2))  # more than two batches
    predicted = predict(model, embedded, episodes, 3)
    assert predicted.shape == (45, 4, 3)
    for number in (0, 19, 20, 44):
        single = Episodes(clips[number : number + 1], episodes.labels[number : number + 1])
        assert torch.equal(predict(model, embedded, single, 3)[0], predicted[number])
    assert accuracies(predicted, episodes)[7].tolist() == pytest.approx(
        [float((predicted[7, r] == episodes.labels[7, r]).float().mean()) for r in range(4)]
    )


def test_views_are_single_windows_with_dropout_and_the_embedding_of_a_clip_has_neither():
    embedding = build_learner(METHODS["mann_pretrained"], SHAPE, settings(adapter=settings().adapter)).embedding
    features = torch.randn(70, 2, 4, 4, 5)  # more than a batch
    embedded = embed_clips(embedding, features, torch.device("cpu"))
    assert torch.equal(embedded, embed_clips(embedding, features, torch.device("cpu")))
    torch.testing.assert_close(embedded[65], embedding(features[65:66])[0])
    views = embed_views(embedding, features, torch.device("cpu"), views=3, seed=0)
    assert views.shape == (70, 3, 6)
    assert not embedding.training
    again = embed_views(embedding, features, torch.device("cpu"), views=3, seed=0)
    assert torch.equal(again, views)
    assert not torch.allclose(views[:, 0], views[:, 2])  # the same window
    for layer in embedding.modules():
        if isinstance(layer, (torch.nn.Dropout, torch.nn.Dropout3d)):
            layer.p = 0.0
    views = embed_views(embedding, features, torch.device("cpu"), views=3, seed=0)
    torch.testing.assert_close(views[:, 1], embedding(features[:, 1:2]))
    assert torch.equal(views[:, 0], views[:, 2])
