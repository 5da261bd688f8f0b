"""Random resized crop and flip against timm's and torchvision's on every frame."""

import pytest
import torch
from scipy.stats import ks_2samp
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Generator
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resized_crop

from tests.training.data.augment_images import UniformRandom, differences, map_frames, noise_clips, scene_clips
from training.data.augment.crop import boxes, crop_resize, draw_boxes

RATIO = (3 / 4, 4 / 3)


def crop(clips, box, flip=None, size=(64, 64), interpolation="bilinear"):
    flip = torch.zeros(len(clips), dtype=torch.bool) if flip is None else flip
    return crop_resize(clips.permute(0, 1, 4, 2, 3), box, flip, size, interpolation).permute(0, 1, 3, 4, 2)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("scale", "size"), [((0.08, 1.0), 64), ((0.5, 1.0), 24), ((0.5, 1.0), 96)])
def test_crop_equals_timms_with_the_same_draws(monkeypatch, interpolation, scale, size):
    # Within 1 level: Pillow's weights have 22 bits, so that sums close to half a level may be rounded otherwise.
    uniform = torch.rand((20, 11, 2), generator=Generator().manual_seed(0), dtype=torch.float64)
    clips = torch.cat([noise_clips(10, height=48), scene_clips(10, height=48)])
    box = boxes(uniform[:, :-1], uniform[:, -1], 48, 64, scale, RATIO)

    def timms(image, number):
        attempts = _until_one_fits(uniform[number], 48, 64, scale)
        monkeypatch.setattr("timm.data.transforms.random", UniformRandom(attempts))
        return RandomResizedCropAndInterpolation(size, scale, RATIO, interpolation)(image)

    error = differences(crop(clips, box, size=(size, size), interpolation=interpolation), map_frames(clips, timms))
    assert error.max() <= 1
    assert (error > 0).float().mean() < 0.01


def _until_one_fits(numbers, height, width, scale):
    """The numbers that timm uses: area and ratio of each attempt until a box fits, then top and left."""
    used = []
    for area, aspect in numbers[:-1].tolist():
        used += [area, aspect]
        target = (scale[0] + (scale[1] - scale[0]) * area) * height * width
        ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** aspect
        if round((target * ratio) ** 0.5) <= width and round((target / ratio) ** 0.5) <= height:
            break
    return [*used, *numbers[-1].tolist()]


@pytest.mark.parametrize("interpolation", list(InterpolationMode)[2:4], ids=lambda mode: mode.value)
def test_crop_equals_torchvisions_with_antialiasing(interpolation):
    clips = scene_clips(4)
    box = torch.tensor([[0, 0, 64, 64], [3, 7, 50, 41], [30, 20, 9, 13], [1, 0, 63, 64]])
    result = crop(clips, box, size=(32, 32), interpolation=interpolation.value)
    for clip, (top, left, height, width), ours in zip(clips, box.tolist(), result, strict=True):
        theirs = resized_crop(
            clip.permute(0, 3, 1, 2).float(), top, left, height, width, [32, 32], interpolation, antialias=True
        )
        # theirs is not rounded between the passes
        assert (theirs.permute(0, 2, 3, 1).clamp(0, 255) - ours).abs().max() < 1.2


def test_the_whole_frame_is_unchanged():
    clips = noise_clips()
    box = torch.tensor([[0, 0, 64, 64]]).expand(3, 4)
    for interpolation in ("bilinear", "bicubic"):
        assert torch.equal(crop(clips, box, interpolation=interpolation), clips)


def test_autocast_does_not_coarsen_the_levels():
    clips, box = scene_clips(), draw_boxes(3, 64, 64, (0.5, 1.0), RATIO, Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        inside = crop(clips, box)
    assert torch.equal(inside, crop(clips, box))


def test_flip_mirrors_the_crop_of_the_chosen_clips():
    clips = noise_clips(4)
    box = draw_boxes(4, 64, 64, (0.5, 1.0), RATIO, Generator().manual_seed(0))
    straight = crop(clips, box)
    flip = torch.tensor([True, False, True, False])
    mirrored = crop(clips, box, flip)
    assert torch.equal(mirrored[flip], straight[flip].flip(3))
    assert torch.equal(mirrored[~flip], straight[~flip])


def test_areas_and_ratios_are_distributed_as_timms(monkeypatch):
    box = draw_boxes(4000, 64, 64, (0.3, 1.0), RATIO, Generator().manual_seed(0)).double()
    monkeypatch.setattr("timm.data.transforms.F.get_image_size", lambda image: [64, 64])
    monkeypatch.setattr(
        "timm.data.transforms.random",
        UniformRandom(torch.rand(200_000, generator=Generator().manual_seed(1)).tolist()),
    )
    timms = torch.tensor(
        [RandomResizedCropAndInterpolation.get_params(None, (0.3, 1.0), RATIO) for _ in range(4000)]
    ).double()
    assert ks_2samp(box[:, 2] * box[:, 3], timms[:, 2] * timms[:, 3]).pvalue > 0.01
    for ours, theirs in zip(box.T, timms.T, strict=True):
        assert ks_2samp(ours, theirs).pvalue > 0.01


def test_boxes_lie_within_the_frame():
    for height, width in ((64, 64), (24, 80)):
        top, left, tall, wide = draw_boxes(2000, height, width, (0.08, 1), RATIO, Generator().manual_seed(0)).T
        assert min(top.min(), left.min()) == 0
        assert (top + tall).max() == height
        assert (left + wide).max() == width


@pytest.mark.parametrize(
    ("height", "width", "box"), [(64, 20, [18, 0, 27, 20]), (20, 64, [0, 18, 20, 27]), (20, 20, [0, 0, 20, 20])]
)
def test_a_central_box_is_taken_where_no_attempt_fits(height, width, box):
    never = torch.full((1, 10, 2), 0.999, dtype=torch.float64)  # all of the area, at a ratio of 4 / 3
    assert boxes(never, torch.zeros(1, 2), height, width, (1.0, 1.0), RATIO).tolist() == [box]
