"""Random erasing against timm's with the same draws."""

import pytest
import torch
from timm.data.random_erasing import RandomErasing as TimmErasing
from torch import Generator

from tests.training.data.augment_images import UniformRandom
from training.data.augment import RandomErasing

SHAPE = torch.Size((12, 3, 4, 32, 48))


def ones(shape=SHAPE):
    return torch.ones(shape)


@pytest.mark.parametrize(("counts", "most_area"), [((1, 1), 1 / 3), ((1, 3), 0.5), ((2, 2), 1.0)])
def test_boxes_equal_timms_with_the_same_draws(monkeypatch, counts, most_area):
    erase = RandomErasing(0.6, "const", max_area=most_area, min_count=counts[0], max_count=counts[1])
    generator = Generator().manual_seed(0)
    chance, number = torch.rand((2, 12), generator=generator, dtype=torch.float64)
    attempts = torch.rand((12, counts[1], 10, 4), generator=generator, dtype=torch.float64)
    boxes = erase.boxes(chance, number, attempts, 32, 48)
    video = erase.apply(ones(), erase.draw(SHAPE, generator)._replace(boxes=boxes))
    timms = TimmErasing(0.6, max_area=most_area, mode="const", min_count=counts[0], max_count=counts[1], device="cpu")
    for clip in range(12):
        numbers = [float(chance[clip])] + ([float(number[clip])] if counts[0] < counts[1] else [])
        count = counts[0] + int(number[clip] * (counts[1] - counts[0] + 1))
        for box in range(count):
            numbers += _until_one_fits(attempts[clip, box], count, most_area)
        monkeypatch.setattr("timm.data.random_erasing.random", UniformRandom(numbers))
        frame = timms(torch.ones(3, 32, 48))
        for ours in video[clip].unbind(1):
            assert torch.equal(ours, frame)
    assert 0.2 < (video == 0).any(-1).any(-1).float().mean() < 0.9  # some clips are erased, some are not


def _until_one_fits(attempts, count, most_area):
    """The numbers that timm uses for a box."""
    used = []
    for area, aspect, top, left in attempts.tolist():
        used += [area, aspect]
        target = (0.02 + (most_area - 0.02) * area) * 32 * 48 / count
        ratio = 0.3 * (1 / 0.3 / 0.3) ** aspect
        if round((target / ratio) ** 0.5) < 48 and round((target * ratio) ** 0.5) < 32:
            return [*used, top, left]
    return used


def test_a_share_of_the_clips_is_erased_by_boxes_of_the_areas_asked_for():
    erase = RandomErasing(0.25, "const")
    boxes = erase.draw(torch.Size((8000, 3, 1, 64, 64)), Generator().manual_seed(0)).boxes[:, 0].double()
    area = boxes[:, 2] * boxes[:, 3] / 64**2
    erased = area > 0
    assert erased.float().mean() == pytest.approx(0.25, abs=0.025)
    # Boxes as tall or wide as the frame are drawn again: large, long ones are a little rarer.
    assert area[erased].mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.015)
    assert 0.015 < area[erased].min() < 0.03
    assert 0.32 < area[erased].max() < 0.345
    aspect = (boxes[erased, 2] / boxes[erased, 3]).log()
    assert aspect.mean() == pytest.approx(0, abs=0.08)
    assert aspect.abs().max() < 1.4  # log(1 / 0.3) is 1.2; sides are whole pixels


def test_pixel_mode_fills_the_same_box_of_each_frame_with_other_noise():
    video = RandomErasing(1.0, "pixel")(ones(torch.Size((40, 3, 4, 64, 64))), Generator().manual_seed(0))
    erased = video != 1
    assert torch.equal(erased, erased[:, :1, :1].expand_as(erased))
    assert not torch.equal(video[:, :, 0], video[:, :, 1])
    assert video[erased].mean() == pytest.approx(0, abs=0.02)
    assert video[erased].std() == pytest.approx(1, abs=0.02)


def test_a_seed_decides_the_result():
    video = torch.randn(SHAPE, generator=Generator().manual_seed(5))
    first, again, other = (RandomErasing(0.9)(video, Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dtype_is_kept_and_no_clip_is_erased_at_probability_0():
    video = torch.randn(SHAPE).bfloat16()
    assert RandomErasing(1.0)(video, Generator().manual_seed(0)).dtype == torch.bfloat16
    assert torch.equal(RandomErasing(0.0)(video, Generator().manual_seed(0)), video)
