"""The classifier: pooling, logits, and masks as augmentation."""

import pytest
import torch
from torch import Generator

from tests.training.models.tiny import classifier, random_video, randomise
from training.models.masking import random_mask


def ready(**overrides: object):
    model = classifier(**overrides).eval()
    randomise(model)
    return model


def test_one_logit_per_class():
    assert ready(classes=26)(random_video()).shape == (2, 26)


def test_logits_are_of_the_normalised_mean_of_all_tokens():
    model = ready()
    pooled = model.encode(random_video()).mean(1)
    assert torch.allclose(model(random_video()), model.head(model.norm(pooled)), atol=1e-6)


def test_pooling_by_class_token_takes_the_class_token():
    model = ready(class_token=True, pooling="class_token")
    _, class_token = model.encoder(random_video())
    assert torch.allclose(model(random_video()), model.head(model.norm(class_token)), atol=1e-6)


def test_tokens_are_not_normalised_before_pooling():
    assert isinstance(ready().encoder.norm, torch.nn.Identity)


def test_masked_tokens_do_not_influence_the_logits():
    model, video = ready(), random_video(requires_grad=True)
    mask = random_mask(2, model.config.grid, 0.75, Generator().manual_seed(0))
    logits = model(video, mask)
    tokens, _ = model.encoder(video, model.encoder.split_tokens(video, mask))
    assert torch.allclose(logits, model.head(model.norm(tokens.mean(1))), atol=1e-6)
    logits.sum().backward()
    pixels = mask.reshape(2, 1, 4, 8, 8).repeat_interleave(2, 2).repeat_interleave(8, 3).repeat_interleave(8, 4)
    assert (video.grad[pixels.expand_as(video)] == 0).all()


def test_dropout_before_the_head_acts_in_training_only():
    model = ready(head_dropout=0.5)
    assert torch.equal(model(random_video()), model(random_video()))
    model.train()
    assert not torch.equal(model(random_video()), model(random_video()))


def test_mask_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=r"must be \(2, 256\)"):
        ready()(random_video(), torch.zeros(2, 7, dtype=torch.bool))
