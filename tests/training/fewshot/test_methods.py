"""The methods of the ablation."""

import torch

from tests.training.fewshot.small import settings
from training.fewshot.lstm import LSTMMemory
from training.fewshot.mann import MANN
from training.fewshot.methods import METHODS


def test_the_ablation_varies_one_thing_at_a_time():
    table = {method.name: (method.pretrained, method.external_memory, method.trained) for method in METHODS}
    assert table == {
        "mann_pretrained": (True, True, True),
        "mann_scratch": (False, True, True),
        "lstm_pretrained": (True, False, True),
        "untrained": (False, True, False),
    }


def test_a_learner_fits_the_features_and_has_the_method_s_memory():
    for method in METHODS:
        model = method.build((4, 5), 11, settings())
        assert isinstance(model.memory, MANN if method.external_memory else LSTMMemory)
        logits, _ = model(torch.randn(1, 3, 3, 4, 5), torch.tensor([[[0, 1, 2]] * 3]))
        assert logits.shape == (1, 3, 3, 3)
        assert model.class_head.weight.shape == (11, 6)


def test_the_seed_decides_a_learner_s_weights():
    first, again, other = (METHODS[0].build((4, 5), 11, settings(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.class_head.weight, again.class_head.weight)
    assert not torch.equal(first.class_head.weight, other.class_head.weight)
