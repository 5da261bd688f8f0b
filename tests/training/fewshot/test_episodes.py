"""Episodes tell nothing of a class beforehand."""

import pytest
import torch

from training.fewshot.episodes import EpisodeSampler

CLASSES = torch.arange(8).repeat_interleave(6)


def test_a_round_shows_one_clip_of_every_class_and_no_clip_twice():
    episodes = EpisodeSampler(CLASSES, way=5, shots=6, seed=0).rounds(10)
    assert episodes.rows.shape == (10, 6, 5)
    for rows, slots in zip(episodes.rows, episodes.slots, strict=True):
        assert len(rows.unique()) == 30
        assert all(sorted(line.tolist()) == [0, 1, 2, 3, 4] for line in slots)
        for slot in range(5):
            assert len(CLASSES[rows[slots == slot]].unique()) == 1


def test_a_class_has_any_slot_and_any_place():
    episodes = EpisodeSampler(CLASSES, way=5, shots=2, seed=0).rounds(2000)
    shown, slot = CLASSES[episodes.rows], episodes.slots
    for number in range(8):
        shares = torch.bincount(slot[shown == number], minlength=5) / (shown == number).sum()
        assert (shares - 0.2).abs().max() < 0.05
    by_place = torch.stack([torch.bincount(slot[:, 0, place], minlength=5) for place in range(5)]) / 2000
    assert (by_place - 0.2).abs().max() < 0.05


def test_sequences_hold_every_class_equally_often():
    episodes = EpisodeSampler(CLASSES, way=3, shots=4, seed=1).sequences(5)
    assert all(torch.bincount(slots).tolist() == [4, 4, 4] for slots in episodes.slots)


def test_the_seed_decides():
    first, again, other = (EpisodeSampler(CLASSES, 5, 3, seed).rounds(4).rows for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="8 classes have 6 clips"):
        EpisodeSampler(CLASSES, way=9, shots=6, seed=0)
