"""Parameter groups, and the learning rate's schedule."""

import math

import pytest
import torch
from torch import nn

from tests.training.engine.quadratic import Quadratic, settings
from training.engine.optimiser import create_optimiser, create_schedule
from training.models import create_model


def rates(chosen):
    optimiser = create_optimiser(Quadratic(), chosen)
    schedule = create_schedule(optimiser, chosen)
    found = []
    for step in range(chosen.steps):
        schedule.step_update(step)
        found.append(optimiser.param_groups[0]["lr"])
    return found


def test_the_learning_rate_warms_up_linearly_and_falls_to_zero_by_a_cosine():
    found = rates(settings(100, lr=1.0))
    assert found[:10] == pytest.approx([0.1 + 0.09 * step for step in range(10)])
    assert found[10] == 1.0
    assert found[55] == pytest.approx(0.5)
    assert found[10 + 30] == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    assert 0 < found[99] < 0.001


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert rates(settings(4, warmup=0, lr=0.8))[0] == 0.8


def test_a_warm_up_longer_than_the_run_only_rises():
    assert rates(settings(4, warmup=8, lr=0.8)) == pytest.approx([0.1, 0.1875, 0.275, 0.3625])


def test_biases_and_norms_are_not_decayed():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    groups = create_optimiser(model, settings(5, weight_decay=0.3)).param_groups
    by_decay = {group["weight_decay"]: [tuple(parameter.shape) for parameter in group["params"]] for group in groups}
    assert by_decay == {0.0: [(2,), (2,), (2,)], 0.3: [(2, 3)]}


def test_a_step_is_fused():
    assert create_optimiser(Quadratic(), settings(5)).defaults["fused"] is True


def test_layer_decay_scales_the_rate_from_the_head_down_to_the_embedding():
    torch.manual_seed(0)
    model = create_model("small_2x8x8", classes=3, dim=24, depth=3, heads=2)
    chosen = settings(5, lr=1.0, layer_decay=0.5, weight_decay=0.1)
    groups = create_optimiser(model, chosen).param_groups
    scale = {parameter: group["lr_scale"] for group in groups for parameter in group["params"]}
    found = {name: scale[parameter] for name, parameter in model.named_parameters()}
    assert found["head.weight"] == found["norm.weight"] == 1.0
    assert found["encoder.blocks.2.mlp.fc1.weight"] == 0.5
    assert found["encoder.blocks.0.mlp.fc1.weight"] == 0.125
    assert found["encoder.embed.proj.weight"] == 0.0625
