"""Folds and episodes of labelled videos keep blocks of file numbers and recordings apart; trivial classifiers are what they say."""

import numpy as np
import pytest
import torch
from torch import Generator

from benchmarks.block_episodes import BlockEpisodes, NearestNeighbourHead, class_splits
from benchmarks.centred import crop_bright
from benchmarks.fights import join_similar, recording_folds
from benchmarks.labelled import differences, file_number, first_frame, number_blocks
from training.clips import Clip


def test_blocks_follow_file_numbers_within_each_class():
    numbers = torch.tensor([30, 10, 20, 40, 7, 5, 6, 8])
    classes = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    assert number_blocks(numbers, classes, 2).tolist() == [1, 0, 0, 1, 1, 0, 0, 1]


def test_a_file_number_is_the_last_in_the_name():
    clip = Clip("x-15_CW_Rotation-sk_color_290", "x", 0, "15_CW_Rotation", "train", None, (), 20, "", "", 0, 0)
    assert file_number(clip) == 290


def test_clips_of_a_class_in_an_episode_are_of_different_blocks():
    classes = torch.arange(4).repeat_interleave(12)
    blocks = torch.arange(48) // 2 % 6
    episodes = BlockEpisodes(classes, blocks, 5).draw(50, Generator().manual_seed(0))
    assert episodes.clips.shape == (50, 5, 4)
    for label in range(4):
        of_label = [clips[labels == label] for clips, labels in zip(episodes.clips, episodes.labels, strict=True)]
        assert all(len({int(blocks[clip]) for clip in clips}) == 5 for clips in of_label)
        named = [{int(classes[clip]) for clip in clips} for clips in of_label]
        assert all(len(names) == 1 for names in named)
        assert set.union(*named) == set(range(4))  # a label is of another class in another episode
    assert len({tuple(row) for row in episodes.labels.flatten(0, 1).tolist()}) > 12  # of 24 orders


def test_too_few_blocks_for_an_episode_are_an_error():
    with pytest.raises(ValueError, match="of 2 blocks: episodes of 3 rounds"):
        BlockEpisodes(torch.zeros(4, dtype=torch.long), torch.tensor([0, 0, 1, 1]), 3)


@pytest.mark.parametrize("way", [4, 5])
def test_splits_hold_out_every_class(way):
    splits = class_splits(12, way, 0)
    assert [len(split) for split in splits] == [way] * 3
    assert {name for split in splits for name in split} == set(range(12))


def test_the_nearest_neighbour_has_the_label_of_the_closest_clip():
    generator = np.random.default_rng(0)
    support, queries = generator.normal(size=(2, 6, 5)), generator.normal(size=(2, 3, 5))
    labels = np.array([[0, 1, 2, 0, 1, 2], [2, 2, 1, 1, 0, 0]])
    one_hot = torch.eye(3, dtype=torch.float64)[torch.tensor(labels)]
    found = NearestNeighbourHead()(torch.tensor(support), one_hot, torch.tensor(queries)).argmax(2)
    for episode in range(2):
        nearest = [((support[episode] - query) ** 2).sum(1).argmin() for query in queries[episode]]
        assert found[episode].tolist() == labels[episode][nearest].tolist()
    assert NearestNeighbourHead()(torch.zeros(1, 0, 5), torch.zeros(1, 0, 3), torch.zeros(1, 2, 5)).eq(0).all()


def squares(places, side):
    """Clips (B, T, 64, 64, 3) with a bright square of `side` pixels, the first corners at `places` (B, T, 2)."""
    frames = torch.zeros(*np.shape(places)[:2], 64, 64, 3, dtype=torch.uint8)
    for clip, row in enumerate(places):
        for tick, (y, x) in enumerate(row):
            frames[clip, tick, y : y + side, x : x + side] = 200
    return frames


def ink(frames):
    """Mean row and column of the bright pixels of each frame (..., S, S, 3), and the share that is bright."""
    bright = frames.amax(-1) > 100
    rows, columns = (
        torch.arange(bright.shape[-1]).double()[shape] for shape in ((slice(None), None), (None, slice(None)))
    )
    number = bright.sum((-2, -1))
    centres = torch.stack([(bright * rows).sum((-2, -1)), (bright * columns).sum((-2, -1))], -1) / number[..., None]
    return centres, number / bright[0, 0].numel()


def test_what_is_bright_is_in_the_middle_of_every_crop_at_one_scale_in_a_clip():
    places = [[(0, 0), (20, 40), (38, 8)], [(30, 36), (9, 9), (1, 30)]]
    small, large = squares(places, 12), squares(places, 24)
    mixed = torch.where(torch.arange(3)[:, None, None, None] == 1, large, small)
    share = {}
    for name, frames in (("small", small), ("large", large), ("mixed", mixed)):
        crops = crop_bright(frames, 32)
        assert crops.shape == (2, 3, 32, 32, 3)
        centres, share[name] = ink(crops)
        assert (centres - 15.5).abs().max() < 0.8
    assert torch.equal(share["mixed"][:, 1], share["large"][:, 1])
    assert ((share["mixed"] / share["large"])[:, [0, 2]] < 0.3).all()
    assert (share["large"] - share["small"]).abs().max() < 0.25


def test_maps_turn_scale_and_shift_all_crops_of_a_clip():
    frames = squares([[(0, 0), (20, 40)], [(30, 44), (9, 9)]], 10)
    plain, spread = ink(crop_bright(frames, 32))
    moved = torch.tensor([[[2.0, 0, 0], [0, 2, 0]], [[2, 0, 0.5], [0, 2, -1]]])
    centres, share = ink(crop_bright(frames, 32, moved))
    assert torch.allclose(share[0], spread[0] / 4, atol=0.02)
    down_and_left = torch.tensor([8.0, -4.0]).double()  # because the crops move up and right
    assert torch.allclose(centres[1] - plain[1], down_and_left, atol=0.6)
    turned = crop_bright(frames, 32, torch.tensor([[[0.0, -1, 0], [1, 0, 0]]]).repeat(2, 1, 1))
    assert torch.equal(turned, torch.rot90(crop_bright(frames, 32), 1, (2, 3)))


def test_a_frame_without_bright_pixels_shows_the_last_that_has_some_or_the_first():
    frames = squares([[(9, 9), (20, 30), (5, 40), (30, 8), (9, 9)]], 12)
    dark = frames.clone()
    dark[:, [0, 2, 3]] = 0
    dark[:, 2, 30, 30] = 255  # one pixel is not enough
    expected = crop_bright(frames[:, [1, 1, 1, 1, 4]], 16)
    assert torch.equal(crop_bright(dark, 16), expected)


def test_a_crop_of_dark_frames_is_dark():
    assert not crop_bright(torch.full((1, 2, 16, 16, 3), 3, dtype=torch.uint8), 8).gt(3).any()


def test_first_frame_and_differences_of_a_known_clip():
    clip = torch.zeros(3, 2, 2, 3, dtype=torch.uint8)
    clip[0, 0, 0] = 7
    clip[1, 1, 1] = 10
    assert first_frame(clip).tolist() == [7.0] * 3 + [0.0] * 9
    assert differences(clip).tolist() == [3.5] * 3 + [0.0] * 6 + [10.0] * 3
    assert torch.equal(differences(clip.expand(2, 3, 2, 2, 3))[1], differences(clip))


def test_clips_that_are_similar_by_way_of_others_are_one_recording():
    similar = torch.zeros(6, 6, dtype=torch.bool)
    for one, other in ((0, 3), (3, 5), (2, 4)):
        similar[one, other] = similar[other, one] = True
    assert join_similar(similar).tolist() == [0, 1, 2, 0, 2, 0]


def test_a_recording_is_in_one_fold_and_folds_are_even():
    recordings = torch.tensor([0] * 7 + [7] * 3 + list(range(10, 40)))
    folds = recording_folds(recordings)
    assert all(len(folds[recordings == one].unique()) == 1 for one in recordings.unique())
    assert folds.bincount().tolist() == [8] * 5
