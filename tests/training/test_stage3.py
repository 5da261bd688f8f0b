"""Stage 3's tasks and classes."""

import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from common.errors import ParamError
from tests.training.fewshot.small import settings
from training.engine.task import Draw
from training.fewshot.classes import labelled, split_classes, training_rows
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.features import FeatureShape
from training.fewshot.heads import build_head
from training.fewshot.methods import build_classifier, build_inputs
from training.fewshot.predict import embed_clips
from training.fewshot.tasks import class_task, episode_task, validate
from training.params import ShortEpisodes

CLASSES = torch.arange(5).repeat_interleave(6)
STAGE = settings()
ROWS = [SimpleNamespace(class_id=10 * int(number), split="train") for number in CLASSES]


def drawn(task, seed, step=STAGE.optimiser.steps - 1):
    return task.draw(Draw(step, torch.Generator().manual_seed(seed)))


def test_the_loss_of_a_head_is_that_of_all_its_predictions_and_the_accuracy_that_of_the_last_round():
    head, embedded = build_head("mann", STAGE), torch.randn(30, 2, 6)
    task = episode_task(head, EpisodeSampler(CLASSES, 3, 4), embedded, STAGE)
    batch = drawn(task, 7)
    assert batch.embedded.shape == (4, 4, 3, 6)
    logits = head.rounds(batch.embedded, F.one_hot(batch.labels, 3).float())
    losses = [
        F.cross_entropy(logits[b, r, w], batch.labels[b, r, w]) for b in range(4) for r in range(4) for w in range(3)
    ]
    hits = [int(logits[b, 3, w].argmax()) == int(batch.labels[b, 3, w]) for b in range(4) for w in range(3)]
    measured = task.compute(batch)
    torch.testing.assert_close(measured["loss"], torch.stack(losses).mean())
    assert float(measured["accuracy"]) == pytest.approx(sum(hits) / 12)


def test_the_first_episodes_of_a_head_are_short():
    stage = settings(short_episodes=ShortEpisodes(instances=2, share=0.5), optimiser=replace(STAGE.optimiser, steps=8))
    task = episode_task(build_head("mann", stage), EpisodeSampler(CLASSES, 3, 4), torch.randn(30, 2, 6), stage)
    assert [drawn(task, 0, step).labels.shape[1] for step in range(8)] == [2] * 4 + [4] * 4


def test_every_view_of_every_clip_is_used():
    embedded = torch.arange(60.0).reshape(30, 2, 1).expand(-1, -1, 6)
    task = episode_task(build_head("mann", STAGE), EpisodeSampler(CLASSES, 3, 4), embedded, STAGE)
    shown = torch.cat([drawn(task, seed).embedded[..., 0].flatten() for seed in range(20)])
    assert len(shown.unique()) > 55


def test_an_embedding_is_trained_by_classifying_random_windows():
    model = build_classifier(FeatureShape(4, 2, 5), 3, STAGE)
    features, clips = torch.randn(30, 2, 4, 4, 5), torch.tensor([3, 8, 15, 20])
    numbers = torch.tensor([0, 1, 2, 2])
    task = class_task(model.eval(), features, clips, numbers, STAGE)
    batch = drawn(task, 3)
    for shown, number in zip(batch.features[:, 0], batch.classes.tolist(), strict=True):
        matches = [(int(c), w) for c in clips for w in range(2) if torch.equal(features[c, w], shown)]
        assert len(matches) == 1
        assert numbers[clips.tolist().index(matches[0][0])] == number
    measured = task.compute(batch)
    logits = model(batch.features)
    torch.testing.assert_close(measured["loss"], F.cross_entropy(logits, batch.classes))
    torch.testing.assert_close(measured["accuracy"], (logits.argmax(1) == batch.classes).float().mean())


def test_validation_classes_are_left_out_of_training():
    training, measured = split_classes(ROWS, settings(validation_classes=2, way=2))
    assert len(training.classes) == 3
    assert sorted([*training.classes.tolist(), *measured.classes.tolist()]) == [0, 10, 20, 30, 40]
    for part in (training, measured):
        ids = torch.tensor([ROWS[clip].class_id for clip in part.clips])
        assert torch.equal(part.classes[part.numbers], ids)
        clips = part.sampler.draw(30, torch.Generator().manual_seed(0)).clips.unique()
        assert {ROWS[clip].class_id for clip in clips} == set(part.classes.tolist())


def test_classes_of_the_split_val_are_measured_and_all_others_are_trained_on():
    rows = [
        SimpleNamespace(class_id=row.class_id, split="val" if row.class_id in (10, 40) else "train") for row in ROWS
    ]
    for count, expected in ((1, 1), (2, 2), (9, 2)):
        training, measured = split_classes(rows, settings(validation_classes=count, way=2 if count > 1 else 1))
        assert training.classes.tolist() == [0, 20, 30]
        assert set(measured.classes.tolist()) <= {10, 40}
        assert len(measured.classes) == expected
    clips = SimpleNamespace(select=lambda split: tuple(row for row in rows if row.split == split))
    assert Counter(row.split for row in training_rows(clips, settings(validation_classes=9))) == {
        "train": 18,
        "val": 12,
    }
    assert Counter(row.split for row in training_rows(clips, settings(validation_classes=0))) == {"train": 18}


def test_without_validation_classes_all_are_trained_on():
    training, measured = split_classes(ROWS, STAGE)
    assert measured is None
    assert training.clips.tolist() == list(range(30))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"way": 6}, "ask for 6-way episodes of 4 clips a class: 5 classes have as many"),
        ({"validation_classes": 2}, "ask for the validation classes: 3-way episodes of 4 clips a class: 2 classes"),
        ({"validation_classes": 9}, "ask for 3-way episodes of 4 clips a class: 0 classes"),
    ],
)
def test_too_few_classes_are_a_param_error(changes, message):
    with pytest.raises(ParamError, match=message):
        split_classes(ROWS, settings(**changes))


def test_validation_is_the_accuracy_on_the_classes_left_out():
    stage = settings(validation_classes=2, way=2)
    _, measured = split_classes(ROWS, stage)
    model = build_inputs("clips", FeatureShape(4, 2, 5), stage)
    signal = torch.randn(5, 1, 4, 4, 5)[CLASSES].expand(-1, 2, -1, -1, -1)  # a pattern per class
    embedded = embed_clips(model, signal, torch.device("cpu"))
    found = validate(build_head("prototypes", stage), embedded, measured, stage)
    assert (found["validation_1shot"], found["validation_last"]) == (1.0, 1.0)
    assert 0 < found["loss"] < math.log(2)


@pytest.mark.parametrize(
    ("share", "per_class"),
    [
        (0.01, [4, 4, 0, 0, 0]),  # at least one episode
        (0.5, [4, 4, 4, 3, 0]),
        (0.7, [4, 4, 4, 4, 4, 1]),
        (1.0, [6, 6, 6, 6, 6]),
    ],
)
def test_labels_come_in_episodes_of_as_many_classes_as_possible(share, per_class):
    classes = torch.tensor([4, 0, 2, 1, 3])
    found = labelled(CLASSES, classes, share, way=2, shots=4, seed=0)
    assert len(found) == len(found.unique()) == sum(per_class)
    counts = [int((CLASSES[found] == number).sum()) for number in classes.tolist()]
    second = per_class[5:]  # of the first class, in the second turn
    assert counts == [per_class[0] + sum(second), *per_class[1:5]]


def test_a_smaller_share_of_labels_is_a_part_of_a_larger_one_and_the_seed_draws_the_clips():
    classes = torch.arange(5)
    small, large, other = (
        set(labelled(CLASSES, classes, share, way=2, shots=4, seed=seed).tolist())
        for share, seed in ((0.3, 0), (0.6, 0), (0.3, 1))
    )
    assert small < large
    assert small != other


def test_classes_with_too_few_clips_for_an_episode_come_last():
    ids = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2])
    found = labelled(ids, torch.tensor([0, 1, 2]), 0.1, way=2, shots=3, seed=0)
    assert ids[found].tolist() == [1, 1, 1, 2, 2, 2]


def test_only_labelled_clips_are_trained_on():
    training, _ = split_classes(ROWS, settings(way=2, label_share=0.4))
    assert len(training.clips) == 12
    assert len(training.classes) == 3
    drawn = training.sampler.draw(30, torch.Generator().manual_seed(0)).clips.unique()
    assert set(drawn.tolist()) <= set(training.clips.tolist())
