"""The classification head on changes over time."""

import pytest
import torch

from training.models import create_model
from training.models.classifier import Classifier
from training.models.config import ModelConfig
from training.models.masking import Masking
from training.models.temporal_head import TemporalHead
from training.models.tubelets import Grid, TokenSplit, gather_tokens

GRID = Grid(8, 64, 2, 8)  # 4 times, 8x8 patches


@pytest.fixture
def head():
    torch.manual_seed(0)
    return TemporalHead(GRID, 6, 5, width=16).eval()


def tokens(batch=2, seed=0):
    return torch.randn(batch, GRID.tokens, 6, generator=torch.Generator().manual_seed(seed))


def test_what_stays_over_time_does_not_matter(head):
    scene = torch.randn(2, 1, GRID.space_patches, 6, generator=torch.Generator().manual_seed(1))
    moved = (tokens().unflatten(1, (4, -1)) + 10 * scene).flatten(1, 2)
    torch.testing.assert_close(head(moved), head(tokens()), rtol=1e-3, atol=1e-4)


def test_order_in_time_matters(head):
    reversed_in_time = tokens().unflatten(1, (4, -1)).flip(1).flatten(1, 2)
    assert (head(reversed_in_time) - head(tokens())).abs().max() > 1e-3


def test_places_are_averages_of_their_visible_tokens(head):
    mask = Masking("random", 0.6)(2, GRID, torch.Generator().manual_seed(2))
    split = TokenSplit.of(mask, 2, GRID)
    found = head._change(gather_tokens(tokens(), split.visible), split)
    expected = torch.zeros(2, 4, 16, 6)
    for clip in range(2):
        for row in range(4):
            for column in range(4):
                means = {}
                for time in range(4):
                    numbers = [time * 64 + (2 * row + y) * 8 + 2 * column + x for y in (0, 1) for x in (0, 1)]
                    seen = [tokens()[clip, number] for number in numbers if not mask[clip, number]]
                    if seen:
                        means[time] = torch.stack(seen).mean(0)
                for time, value in means.items():
                    expected[clip, time, 4 * row + column] = value - torch.stack(list(means.values())).mean(0)
    expected = expected.flatten(2)
    torch.testing.assert_close(found, expected / expected.std((1, 2), keepdim=True), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_a_classifier_with_temporal_pooling_trains_all_its_parameters(masked):
    torch.manual_seed(0)
    shape = {"num_frames": 4, "patch": 16, "dim": 24, "depth": 1, "heads": 2}
    model = create_model("paper_small_classifier", **shape, pooling="temporal")
    assert isinstance(model, Classifier)
    mask = Masking("random", 0.5)(2, model.config.grid, torch.Generator().manual_seed(0)) if masked else None
    video = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    logits = model(video, mask)
    assert logits.shape == (2, 26)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_static_clip_has_finite_logits(head):
    still = tokens()[:, :64].repeat(1, 4, 1)
    assert head(still).isfinite().all()


def test_an_unknown_pooling_is_an_error():
    with pytest.raises(ValueError, match="pooling is 'max': must be one of mean, class_token, temporal"):
        ModelConfig(num_frames=4, image_size=64, tubelet=1, patch=16, dim=24, depth=1, heads=2, pooling="max")
