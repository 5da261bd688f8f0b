"""Rates of a run, FLOPs of a step, and peaks of GPUs."""

import time

import pytest
import torch
from torch import nn

from training.engine.objective import Objective
from training.engine.throughput import Meter, count_flops, peak_flops


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA GeForce RTX 4090", 165),
    ],
)
def test_peaks_are_those_of_the_gpu_s_own_form(name, tera):
    assert peak_flops(name) == tera * 1e12


@pytest.mark.parametrize(
    "name", ["NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA L40", "Tesla T4"]
)
def test_a_gpu_that_is_not_in_the_table_has_no_peak(name):
    assert peak_flops(name) is None


def test_a_linear_layer_s_flops_are_two_per_weight_and_pass():
    """A forward pass, and a backward pass for the weights: the input needs no gradient."""
    model = nn.Linear(30, 20, bias=False)
    objective = Objective(model, lambda batch: {"loss": model(batch).sum()})
    assert count_flops(objective, torch.ones(7, 30), torch.device("cpu")) == 2 * 2 * 7 * 30 * 20
    assert model.weight.grad is None


def test_rates_are_over_the_steps_since_the_start_of_the_interval():
    meter = Meter(clips=8, step_flops=1e6, peak=1e9)
    meter.restart(waited_s=5.0)
    started = time.perf_counter()
    time.sleep(0.2)
    rates = meter.read(steps=3, waited_s=5.1)
    seconds = time.perf_counter() - started
    assert rates["clips_per_s"] == pytest.approx(24 / seconds, rel=0.05)
    assert rates["wait_share"] == pytest.approx(0.1 / seconds, rel=0.05)
    assert rates["mfu"] == pytest.approx(3e6 / seconds / 1e9, rel=0.05)


def test_without_a_known_peak_there_is_no_mfu():
    assert "mfu" not in Meter(clips=8).read(1, 0.0)
