"""The temporal adapter."""

import torch
from torch.nn import functional as F

from training.fewshot.adapter import TemporalAdapter


def adapter(times=5):
    torch.manual_seed(0)
    return TemporalAdapter(features=7, times=times, embedding=6, width=8, hidden=9)


def test_embeddings_have_unit_length():
    embedded = adapter()(torch.randn(4, 5, 7))
    assert embedded.shape == (4, 6)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(4))


def test_clips_of_a_batch_do_not_affect_each_other():
    model, features = adapter(), torch.randn(4, 5, 7)
    torch.testing.assert_close(model(features)[2:3], model(features[2:3]))


def test_the_order_of_times_matters():
    model, features = adapter(), torch.randn(1, 5, 7)
    assert not torch.allclose(model(features), model(features.flip(1)))


def test_it_takes_half_precision_features():
    model, features = adapter(), torch.randn(2, 5, 7).half()
    torch.testing.assert_close(model(features), model(features.float()))


def test_embeddings_are_those_of_the_layers_written_out():
    model, features = adapter(times=3), torch.randn(2, 3, 7)
    weights = dict(model.named_parameters())
    channels = F.gelu(features @ weights["each_time.0.weight"].T + weights["each_time.0.bias"])  # (2, 3, 8)
    for number in range(2):
        kernel, bias = weights[f"along_time.{number}.weight"], weights[f"along_time.{number}.bias"]
        padded = F.pad(channels, (0, 0, 1, 1))
        filtered = torch.stack(
            [sum(padded[:, time + tap] @ kernel[..., tap].T for tap in range(3)) + bias for time in range(3)], 1
        )
        channels = channels + F.gelu(filtered)
    flat = channels.transpose(1, 2).flatten(1)
    normed = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    normed = normed * weights["out.0.weight"] + weights["out.0.bias"]
    hidden = F.gelu(normed @ weights["out.1.weight"].T + weights["out.1.bias"])
    out = hidden @ weights["out.3.weight"].T + weights["out.3.bias"]
    torch.testing.assert_close(model(features), out / out.norm(dim=1, keepdim=True))


def test_widths_are_those_asked_for():
    shapes = {name: tuple(value.shape) for name, value in adapter().named_parameters()}
    assert shapes["each_time.0.weight"] == (8, 7)
    assert shapes["along_time.1.weight"] == (8, 8, 3)
    assert shapes["out.1.weight"] == (9, 40)
    assert shapes["out.3.weight"] == (6, 9)
