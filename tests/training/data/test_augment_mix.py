"""Mixup and CutMix against timm's with the same draws, frame by frame."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from timm.data.mixup import Mixup as TimmMixup
from torch import Generator

from training.data.augment import Mixup

SHAPE = torch.Size((8, 3, 4, 32, 48))


def video(seed=0):
    return torch.randn(SHAPE, generator=Generator().manual_seed(seed))


class DrawnNumbers:
    """numpy.random as timm's Mixup calls it, giving the parameters of `MixDraws` before boxes are made."""

    def __init__(self, shares, cutmix, centre, scalar):
        self.scalar, self.shares, self.cutmix = scalar, shares, cutmix
        self.calls = 0
        self.centres = iter([int(u * length) for pair in centre.T for u, length in zip(pair, (32, 48), strict=True)])

    def rand(self, *size):
        self.calls += 1
        if self.scalar:  # timm: whether to mix, then whether by CutMix
            return 0.0 if self.calls == 1 else (0.0 if self.cutmix[0] else 0.99)
        return np.zeros(size) if self.calls == 2 else np.where(self.cutmix, 0.0, 0.99)  # by CutMix, then to mix

    def beta(self, *_, size=None):
        return self.shares if size else self.shares[0]

    def randint(self, low, high, size=None):
        return next(self.centres)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("mode", "rows"), [("batch", 1), ("pair", 4), ("elem", 8)])
@pytest.mark.parametrize("cut", ["all", "none", "some"])
def test_mixed_clips_and_targets_equal_timms_with_the_same_draws(monkeypatch, mode, rows, cut, multi_label, correct):
    generator = Generator().manual_seed(3)
    share = torch.rand(rows, generator=generator, dtype=torch.float32).double()  # timm's are float32
    centre = torch.rand((2, rows), generator=generator, dtype=torch.float64)
    cutmix = {"all": torch.ones(rows), "none": torch.zeros(rows), "some": torch.arange(rows) % 2}[cut].bool()
    target = torch.randint(0, 10, (8,), generator=generator)
    if multi_label:
        target = torch.nn.functional.one_hot(target, 10)
    mixup = Mixup(10, mode=mode, multi_label=multi_label, correct_share=correct)
    monkeypatch.setattr(mixup.__class__, "boxes", _with_draws(mixup.boxes, share, cutmix, centre))
    ours, our_target = mixup(video(), target, Generator())
    for frame, mixed in zip(video().unbind(2), ours.unbind(2), strict=True):
        numbers = DrawnNumbers(share.numpy(), cutmix.numpy(), _used(centre, cutmix).numpy(), mode == "batch")
        monkeypatch.setattr("timm.data.mixup.np.random", numbers)
        timms = TimmMixup(
            0.8, 1.0, mode=mode, num_classes=10, multi_label=multi_label, correct_lam=correct, label_smoothing=0.1
        )
        theirs, their_target = timms(frame.clone(), target)
        torch.testing.assert_close(mixed, theirs)
        torch.testing.assert_close(our_target, their_target)


def _with_draws(boxes, share, cutmix, centre):
    """`Mixup.boxes` with these numbers instead of drawn ones."""
    return lambda self, _share, _cutmix, _centre, height, width: boxes(share, cutmix, centre, height, width)


def _used(centre, cutmix):
    """Centres of the clips that are cut: timm draws no others."""
    return centre[:, cutmix]


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_shares_are_drawn_from_the_beta_distribution(alpha):
    draws = Mixup(2, mixup_alpha=alpha, cutmix_alpha=0, mode="elem").draw(
        torch.Size((4000, 3, 1, 8, 8)), Generator().manual_seed(0)
    )
    assert not draws.cutmix.any()
    assert kstest(draws.share, "beta", (alpha, alpha)).pvalue > 0.01


def test_probabilities_of_mixing_and_of_cutmix():
    shape = torch.Size((4000, 3, 1, 64, 64))
    draws = Mixup(2, probability=0.7, switch_probability=0.3, mode="elem").draw(shape, Generator().manual_seed(0))
    assert (draws.share == 1).float().mean() == pytest.approx(0.3, abs=0.04)
    assert draws.cutmix.float().mean() == pytest.approx(0.3, abs=0.04)
    only = Mixup(2, mixup_alpha=0, mode="elem").draw(shape, Generator().manual_seed(0))
    assert only.cutmix.all()
    area = (only.boxes[:, 2] * only.boxes[:, 3]).double() / 64**2
    torch.testing.assert_close(only.share, 1 - area)
    assert Mixup(2, mixup_alpha=0, correct_share=False, mode="elem").draw(
        shape, Generator().manual_seed(0)
    ).share.mean() == pytest.approx(0.5, abs=0.03)


def test_a_batch_that_is_not_mixed_keeps_its_clips_and_smooths_its_targets():
    mixed, target = Mixup(10, probability=0.0, label_smoothing=0.2)(
        video(), torch.arange(8), Generator().manual_seed(0)
    )
    assert torch.equal(mixed, video())
    expected = torch.full((8, 10), 0.02)
    expected[torch.arange(8), torch.arange(8)] = 0.82
    torch.testing.assert_close(target, expected)


def test_batch_mode_draws_once_for_all_clips():
    draws = Mixup(2, mode="batch").draw(SHAPE, Generator().manual_seed(0))
    assert draws.share.shape == (8,)
    assert draws.boxes.shape == (8, 4)
    assert len(draws.share.unique()) == 1


def test_a_seed_decides_the_result():
    first, again, other = (
        Mixup(8, mode="elem")(video(), torch.arange(8), Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_odd_batch_in_pairs_and_two_zero_alphas_are_value_errors():
    with pytest.raises(ValueError, match="a batch of 7 clips: must be even"):
        Mixup(2, mode="pair").draw(torch.Size((7, 3, 1, 8, 8)), Generator())
    with pytest.raises(ValueError, match="mixup_alpha and cutmix_alpha are 0"):
        Mixup(2, mixup_alpha=0, cutmix_alpha=0)
