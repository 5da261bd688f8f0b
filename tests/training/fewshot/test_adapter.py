"""Embeddings of clips."""

import pytest
import torch
from torch.nn import functional as F

from training.fewshot.adapter import (
    ClassifiedEmbedding,
    ClipEmbedding,
    FlatEmbedding,
    FrameEmbedding,
    SpaceTimeAdapter,
    mean_frame,
)
from training.fewshot.features import FeatureShape


def adapter(times=5, **changes):
    torch.manual_seed(0)
    return SpaceTimeAdapter(FeatureShape(times, 3, 7), 6, **({"width": 4, "hidden": 9} | changes)).eval()


def test_embeddings_have_unit_length():
    embedded = adapter()(torch.randn(4, 5, 9, 7))
    assert embedded.shape == (4, 5, 6)
    torch.testing.assert_close(embedded.norm(dim=2), torch.ones(4, 5))


def test_clips_of_a_batch_do_not_affect_each_other():
    model, features = adapter(), torch.randn(4, 5, 9, 7)
    torch.testing.assert_close(model(features)[2:3], model(features[2:3]))


def test_the_order_of_times_matters():
    model, features = adapter(), torch.randn(1, 5, 9, 7)
    assert not torch.allclose(mean_frame(model(features)), mean_frame(model(features.flip(1))))


def test_it_takes_half_precision_features():
    model, features = adapter(), torch.randn(2, 5, 9, 7).half()
    torch.testing.assert_close(model(features), model(features.float()))


def test_embeddings_are_those_of_the_layers_written_out():
    model, features = adapter(times=2), torch.randn(2, 2, 9, 7)
    weights = dict(model.named_parameters())
    maps = F.gelu(features @ weights["each_place.weight"].T + weights["each_place.bias"]).reshape(2, 2, 3, 3, 4)
    padded = F.pad(maps, (0, 0, 1, 1, 1, 1, 1, 1))  # a place on each side of times, rows and columns
    kernel = weights["over_space.weight"]  # (out, in, time, row, column)
    filtered = weights["over_space.bias"] + sum(
        padded[:, t : t + 2, r : r + 3, c : c + 3] @ kernel[:, :, t, r, c].T
        for t in range(3)
        for r in range(3)
        for c in range(3)
    )
    maps = (maps + F.gelu(filtered)).flatten(2, 3)
    channels = torch.cat([maps.mean(2), maps.max(2).values], 2)  # (2, times, 8)
    for number in range(2):
        kernel, bias = weights[f"along_time.{number}.weight"], weights[f"along_time.{number}.bias"]
        padded = F.pad(channels, (0, 0, 1, 1))
        along = [sum(padded[:, time + tap] @ kernel[..., tap].T for tap in range(3)) + bias for time in range(2)]
        channels = channels + F.gelu(torch.stack(along, 1))
    deviation = (channels.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    normed = (channels - channels.mean(2, keepdim=True)) / deviation
    normed = normed * weights["out.0.weight"] + weights["out.0.bias"]
    hidden = F.gelu(normed @ weights["out.2.weight"].T + weights["out.2.bias"])
    out = hidden @ weights["out.5.weight"].T + weights["out.5.bias"]
    torch.testing.assert_close(model(features), out / out.norm(dim=2, keepdim=True))


def test_dropout_is_active_in_training_only():
    model, features = adapter(dropout=0.5), torch.randn(3, 5, 9, 7)
    assert torch.equal(model(features), model(features))
    model.train()
    assert not torch.equal(model(features), model(features))


def test_frame_wise_embeddings_of_a_clip_are_means_over_windows_at_each_time():
    model, features = FrameEmbedding(adapter()), torch.randn(3, 2, 5, 9, 7)
    mean = (model.adapter(features[:, 0]) + model.adapter(features[:, 1])) / 2
    torch.testing.assert_close(model(features), mean / mean.norm(dim=2, keepdim=True))


def test_a_clip_s_embedding_is_the_mean_over_time_at_unit_length():
    frames = FrameEmbedding(adapter())
    model, features = ClipEmbedding(frames), torch.randn(3, 2, 5, 9, 7)
    mean = frames(features).sum(1) / 5
    torch.testing.assert_close(model(features), mean / mean.norm(dim=1, keepdim=True))


def test_a_flat_embedding_is_the_features_at_unit_length():
    features = torch.randn(3, 2, 5, 9, 7)
    flat = features.reshape(3, -1)
    torch.testing.assert_close(
        FlatEmbedding()(features.half()).double().norm(dim=1), torch.ones(3).double(), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(FlatEmbedding()(features), flat / flat.norm(dim=1, keepdim=True))


def test_class_logits_are_scaled_cosines_and_means_over_time():
    model = ClassifiedEmbedding(FrameEmbedding(adapter()), 6, 11, 8.0).eval()
    features = torch.randn(2, 1, 5, 9, 7)
    for frames, logits in zip(model.embedding(features).detach(), model(features), strict=True):
        cosines = [sum(float(frame @ row / row.norm()) for frame in frames) / 5 for row in model.weight.detach()]
        assert logits.tolist() == pytest.approx([8 * cosine for cosine in cosines], abs=1e-4)
