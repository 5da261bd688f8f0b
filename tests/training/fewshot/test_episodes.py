"""Episodes: their shape, and that nothing but their own rounds links a class to its label."""

import pytest
import torch
from torch import Generator

from training.fewshot.episodes import EpisodeSampler

CLASSES = torch.arange(8).repeat_interleave(6)


def draw(number, way=5, shots=6, seed=0, classes=CLASSES):
    return EpisodeSampler(classes, way, shots).draw(number, Generator().manual_seed(seed))


def test_a_round_shows_one_clip_of_every_class_and_no_clip_twice():
    episodes = draw(10)
    assert len(episodes) == 10
    assert episodes.clips.shape == episodes.labels.shape == (10, 6, 5)
    for clips, labels in zip(episodes.clips, episodes.labels, strict=True):
        assert len(clips.unique()) == 30
        assert all(sorted(line.tolist()) == [0, 1, 2, 3, 4] for line in labels)


def test_an_episode_label_stands_for_one_class():
    episodes = draw(10)
    for clips, labels in zip(episodes.clips, episodes.labels, strict=True):
        shown = [CLASSES[clips[labels == label]].unique() for label in range(5)]
        assert all(len(numbers) == 1 for numbers in shown)
        assert len(torch.cat(shown).unique()) == 5


def test_a_class_has_any_label_and_any_place_with_equal_chance():
    episodes = draw(2000, shots=2)
    classes = CLASSES[episodes.clips]
    for number in range(8):
        shares = torch.bincount(episodes.labels[classes == number], minlength=5) / (classes == number).sum()
        assert (shares - 0.2).abs().max() < 0.05
    by_place = torch.stack([torch.bincount(episodes.labels[:, 0, place], minlength=5) for place in range(5)]) / 2000
    assert (by_place - 0.2).abs().max() < 0.05


def test_the_order_of_classes_changes_from_round_to_round():
    labels = draw(500, shots=2).labels
    same = (labels[:, 0] == labels[:, 1]).float().mean()
    assert same == pytest.approx(0.2, abs=0.03)


def test_every_class_and_every_clip_is_drawn_with_equal_chance():
    episodes = draw(2000, way=2, shots=3)
    counts = torch.bincount(episodes.clips.flatten(), minlength=len(CLASSES))
    assert (counts / counts.sum() - 1 / 48).abs().max() < 0.004


def test_fewer_clips_of_the_classes_that_have_enough_for_whole_episodes():
    classes = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 3])
    episodes = EpisodeSampler(classes, 2, 3).draw(50, Generator().manual_seed(0), shots=2)
    assert episodes.clips.shape == episodes.labels.shape == (50, 2, 2)
    assert classes[episodes.clips].unique().tolist() == [1, 2]
    assert len(episodes.clips.unique()) == 6


def test_classes_with_too_few_clips_are_left_out():
    classes = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 3])
    shown = classes[draw(50, way=2, shots=3, classes=classes).clips]
    assert shown.unique().tolist() == [1, 2]


def test_only_the_classes_asked_for_are_drawn():
    sampler = EpisodeSampler(CLASSES, 2, 3, clips=torch.isin(CLASSES, torch.tensor([1, 4, 6])).nonzero()[:, 0])
    assert CLASSES[sampler.draw(50, Generator().manual_seed(0)).clips].unique().tolist() == [1, 4, 6]


def test_the_generator_decides():
    first, again, other = (draw(4, shots=3, seed=seed).clips for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_same_episodes_come_one_by_one_and_together():
    sampler, generator = EpisodeSampler(CLASSES, 5, 3), Generator().manual_seed(4)
    single = torch.cat([sampler.draw(1, generator).clips for _ in range(6)])
    assert torch.equal(single, draw(6, shots=3, seed=4).clips)


def test_too_few_classes_are_an_error():
    with pytest.raises(ValueError, match="9-way episodes of 6 clips a class: 8 classes have as many"):
        EpisodeSampler(CLASSES, way=9, shots=6)
    with pytest.raises(ValueError, match="0 classes have as many"):
        EpisodeSampler(CLASSES, way=2, shots=7)


def test_values_of_classes_come_in_the_order_of_the_episode_labels():
    classes = torch.arange(5).repeat_interleave(6)
    episodes = EpisodeSampler(classes, way=3, shots=4).draw(20, torch.Generator().manual_seed(0))
    by_label = episodes.by_label(classes)
    assert by_label.shape == (20, 3)
    for number in range(20):
        for shot in range(4):
            assert torch.equal(by_label[number][episodes.labels[number, shot]], classes[episodes.clips[number, shot]])
