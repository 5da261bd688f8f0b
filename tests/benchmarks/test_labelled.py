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
    for name in range(4):
        of_class = [clips[labels == name] for clips, labels in zip(episodes.clips, episodes.labels, strict=True)]
        assert all(len({int(blocks[clip]) for clip in clips}) == 5 for clips in of_class)
        assert {int(classes[clip]) for clips in of_class for clip in clips} == {name}


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


def test_a_bright_spot_is_in_the_middle_of_every_crop():
    frames = torch.zeros(2, 3, 16, 16, 3, dtype=torch.uint8)
    places = [[(0, 0), (15, 3), (7, 8)], [(4, 15), (9, 9), (1, 14)]]
    for clip, row in enumerate(places):
        for tick, (y, x) in enumerate(row):
            frames[clip, tick, y, x] = 200
    crops = crop_bright(frames, 8)
    assert crops.shape == (2, 3, 8, 8, 3)
    assert (crops[:, :, 4, 4] == 200).all()
    assert crops.sum() == 6 * 3 * 200


def test_a_crop_of_a_dark_frame_is_dark():
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
