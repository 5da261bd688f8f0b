"""Confused pairs of classes, against loops."""

from collections import Counter

import torch

from training.fewshot.confusions import ConfusedPair, as_table, confused_pairs
from training.fewshot.episodes import EpisodeSampler

CLASSES = torch.tensor([7, 3, 9, 20]).repeat_interleave(5)


def test_pairs_are_counted_over_the_rounds_in_which_labels_have_been_shown():
    generator = torch.Generator().manual_seed(0)
    episodes = EpisodeSampler(CLASSES, 3, 4).draw(40, generator)
    predicted = torch.randint(3, episodes.labels.shape, generator=generator)
    confused, shown = Counter(), Counter()
    for clips, labels, guesses in zip(episodes.clips, episodes.labels, predicted, strict=True):
        of_label = {int(label): int(CLASSES[clip]) for clip, label in zip(clips[0], labels[0], strict=True)}
        for shot in range(1, 4):
            for clip, guess in zip(clips[shot], guesses[shot], strict=True):
                truth, said = int(CLASSES[clip]), of_label[int(guess)]
                for other in set(of_label.values()) - {truth}:
                    pair = tuple(sorted((truth, other)))
                    shown[pair] += 1
                    confused[pair] += said == other
    found = confused_pairs(predicted, episodes, CLASSES)
    assert {pair.classes: (pair.confused, pair.shown) for pair in found} == {
        pair: (count, shown[pair]) for pair, count in confused.items() if count
    }
    assert [pair.share for pair in found] == sorted((pair.share for pair in found), reverse=True)


def test_right_predictions_confuse_nothing():
    episodes = EpisodeSampler(CLASSES, 3, 4).draw(5, torch.Generator().manual_seed(0))
    assert confused_pairs(episodes.labels, episodes, CLASSES) == []


def test_names_with_tabs_cannot_break_the_table():
    table = as_table([ConfusedPair((1, 2), 3, 12)], {1: "a\tb", 2: "c\nd"})
    assert table == "first\tsecond\tconfused\tshown\tshare\na b\tc d\t3\t12\t0.2500\n"
