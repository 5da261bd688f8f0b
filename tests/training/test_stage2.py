"""Stage 2's clips, classifiers and scores."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch.nn import functional as F

from common.errors import WorkError
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames
from training import stage2
from training.clips import Clips
from training.data.augment import Mixup
from training.data.windows import ClipWindows
from training.engine.augmentation import Augmentation
from training.engine.batches import BatchSampler
from training.engine.classification import classification_task, classification_validation, classify, score
from training.engine.labels import Labels
from training.engine.probes import logistic_regression
from training.engine.recognition import build_classifier
from training.engine.task import Draw
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.params import LabelledAugmentation
from training.tools import ablation_stage2

SHAPE = {"num_frames": 4, "patch": 16, "dim": 24, "depth": 1, "heads": 2, "decoder_dim": 24, "decoder_heads": 2}
NAMES = [f"label{number}" for number in range(8)]
MASKING = Masking("random", 0.75)
LOSSES = ("cross_entropy", "bce", "label_sets")


def given_labels(number):
    """One, two or three of the eight labels."""
    return tuple(NAMES[(number * 7 + 3 * more) % 8] for more in range(1 + number % 3))


@pytest.fixture
def data(here):
    clips = [ToyClip(f"n{n}", numbered_frames(n, ticks=20), n, labels=given_labels(n)) for n in range(40)]
    toy.write_shards(here, clips)
    read = Clips()
    return ClipWindows(read, read.rows, frames=4, stride=2)


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return create_model("paper_small", **SHAPE)


def test_a_classifier_starts_from_the_autoencoder_s_encoder(autoencoder):
    model = build_classifier(autoencoder, 8, seed=0)
    trained = autoencoder.encoder.state_dict()
    assert all(torch.equal(value, trained[key]) for key, value in model.encoder.state_dict().items())
    assert model.head.weight.shape == (8, 24)
    assert not model.head.weight.equal(build_classifier(autoencoder, 8, seed=1).head.weight)


def test_training_a_classifier_leaves_the_autoencoder_as_it_is(autoencoder):
    before = {key: value.clone() for key, value in autoencoder.state_dict().items()}
    model = build_classifier(autoencoder, 8, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[key]) for key, value in autoencoder.state_dict().items())


def classifier_batch(data, autoencoder, loss, masked, **augmentation):
    """A classifier, the task of training it, and a batch."""
    labels = Labels(NAMES, loss, data.rows)
    model = build_classifier(autoencoder, labels.outputs, seed=0).eval()
    changes = Augmentation(
        LabelledAugmentation(**augmentation),
        "stage2.finetune_augment",
        classes=labels.outputs,
        label_smoothing=0.1,
        multi_label=labels.multi_label,
    )
    targets = labels.targets(data.rows)
    sampler = BatchSampler(data, model.config, MASKING, 4, seed=0, buffer=40, augmentation=changes, labels=targets)
    task = classification_task(model, sampler, changes, labels, masked=masked)
    return model, task, task.draw(Draw(0, torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_the_smoothed_cross_entropy_of_first_labels(data, autoencoder, masked):
    model, task, batch = classifier_batch(data, autoencoder, "cross_entropy", masked)
    logits = model(preprocess(batch.frames, model.config), batch.mask if masked else None)
    first = torch.tensor([NAMES.index(given_labels(clip)[0]) for clip in batch.clips.tolist()])
    torch.testing.assert_close(task.compute(batch)["loss"], F.cross_entropy(logits, first, label_smoothing=0.1))


def test_the_binary_loss_is_over_every_label(data, autoencoder):
    model, task, batch = classifier_batch(data, autoencoder, "bce", masked=False)
    logits = model(preprocess(batch.frames, model.config))
    has = torch.tensor([[name in given_labels(clip) for name in NAMES] for clip in batch.clips.tolist()])
    expected = F.binary_cross_entropy_with_logits(logits, torch.where(has, 0.95, 0.05))
    torch.testing.assert_close(task.compute(batch)["loss"], expected)


def test_clips_with_the_same_labels_in_another_order_are_of_one_set(here):
    given = [("b", "a"), ("a",), ("a", "b"), ("c", "a")]
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n), n, labels=labels) for n, labels in enumerate(given)])
    rows = Clips().rows
    labels = Labels(["a", "b", "c"], "label_sets", rows)
    assert labels.targets(rows).tolist() == [1, 0, 1, 2]
    assert labels.outputs == 3
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()  # {a}, {a, b}, {a, c}
    torch.testing.assert_close(labels.scores(logits), torch.tensor([[0.2 + 0.25 + 0.15, 0.25, 0.15]]))
    assert labels.predicted(logits).tolist() == [[True, True, False]]
    assert labels.first(rows).tolist() == [1, 0, 0, 2]


def test_mixed_clips_have_mixed_targets(data, autoencoder):
    model, task, batch = classifier_batch(data, autoencoder, "cross_entropy", masked=False, mixup=1.0)
    assert batch.draws.mix is not None
    mixup = Mixup(8, mixup_alpha=1.0, cutmix_alpha=0.0, label_smoothing=0.1)
    video, target = mixup.apply(preprocess(batch.frames, model.config), batch.labels, batch.draws.mix)
    expected = -(target * model(video).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(task.compute(batch)["loss"], expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("masked", [False, True])
def test_scores_are_those_of_a_loop_over_clips(data, autoencoder, loss, masked):
    labels = Labels(NAMES, loss, data.rows)
    model = build_classifier(autoencoder, labels.outputs, seed=0).eval()
    torch.nn.init.normal_(model.head.weight, std=1.0)
    generator = torch.Generator().manual_seed(3)
    masks = torch.cat([MASKING(size, model.config.grid, generator) for size in (32, 8)])
    first, five, any_first, guesses, truth = [], [], [], [], []
    for clip in range(40):
        video = preprocess(data.even_windows(torch.tensor([clip]), 0, 1), model.config)
        with torch.no_grad():
            scores = labels.scores(model(video, masks[clip : clip + 1] if masked else None))[0]
        given = given_labels(clip)
        truth.append(NAMES.index(given[0]))
        better = int((scores > scores[truth[-1]]).sum())
        first.append(better < 1)
        five.append(better < 5)
        guesses.append(int(scores.argmax()))
        any_first.append(NAMES[guesses[-1]] in given)
    found = score(classify(model, data, MASKING if masked else None, seed=3), data.rows, labels)
    top1, top5 = np.mean(first), np.mean(five)
    assert 0 < top1 < top5 < 1  # a model that is right or wrong every time would test nothing
    assert found["top1"] == pytest.approx(top1)
    assert found["top5"] == pytest.approx(top5)
    assert found["top1_any"] == pytest.approx(np.mean(any_first))
    assert found["top1_ci95"] == pytest.approx(1.96 * math.sqrt(top1 * (1 - top1) / 39))
    expected = f1_score(truth, guesses, average="macro", labels=np.unique(truth), zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_f1_of_all_labels_is_scikit_learn_s(data, loss):
    labels = Labels(NAMES, loss, data.rows)
    logits = torch.randn(40, labels.outputs, generator=torch.Generator().manual_seed(0))
    found = score(logits, data.rows, labels)
    truth = [[name in given_labels(clip) for name in NAMES] for clip in range(40)]
    guess = labels.predicted(logits).numpy()
    assert found["f1_multilabel"] == pytest.approx(f1_score(truth, guess, average="macro", zero_division=0))
    assert found["micro_f1"] == pytest.approx(f1_score(truth, guess, average="micro", zero_division=0))


@pytest.mark.parametrize(("loss", "expected"), [("cross_entropy", [0, 1]), ("bce", [1])])
def test_several_labels_are_predicted_where_they_are_probable(loss, expected):
    labels = Labels(["a", "b", "c"], loss, ())
    logits = torch.tensor([[-0.1, 0.2, -3.0]])
    assert labels.predicted(logits)[0].nonzero()[:, 0].tolist() == expected


def test_fewer_than_five_classes_make_top_5_certain(data):
    rows = data.rows[:1]
    labels = Labels(sorted(rows[0].tinyvirat_labels), "bce", rows)
    assert score(torch.zeros(1, labels.outputs), rows, labels)["top5"] == 1.0


@pytest.mark.parametrize("loss", LOSSES)
def test_validation_measures_loss_and_accuracy(data, autoencoder, loss):
    labels = Labels(NAMES, loss, data.rows)
    model = build_classifier(autoencoder, labels.outputs, seed=0).eval()
    with torch.no_grad():
        measured = classification_validation(model, data, labels, None, seed=0)()
        logits = classify(model, data, None, seed=0)
    found = score(logits, data.rows, labels)
    assert (measured["top1"], measured["top5"]) == (found["top1"], found["top5"])
    if loss != "label_sets":
        expected = labels.loss(logits, labels.targets(data.rows))
        assert measured["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_logistic_regression_is_scikit_learn_s():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(4, (80,), generator=generator)
    features = torch.randn(80, 6, generator=generator) + 0.8 * F.one_hot(truth, 6)
    test = torch.randn(50, 6, generator=generator)
    mean, deviation = features.mean(0), features.std(0)
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000)
    reference.fit(((features - mean) / deviation).numpy(), truth.numpy())
    expected = reference.predict(((test - mean) / deviation).numpy())
    assert logistic_regression(features, truth, test, 4).tolist() == expected.tolist()


def test_clips_are_split_as_tinyvirat_splits_them(here):
    splits = ["train", "test", None, "test", "train"]
    labels = [("a",), ("b",), ("a",), None, None]
    clips = [
        ToyClip(f"n{n}", numbered_frames(n), n, official_split=split, labels=given)
        for n, (split, given) in enumerate(zip(splits, labels, strict=True))
    ]
    toy.write_shards(here, clips)
    rows, test_rows = stage2.split_clips(Clips())
    assert [clip.clip_id for clip in rows] == ["n0", "n2"]
    assert [clip.clip_id for clip in test_rows] == ["n1"]


def test_a_data_set_without_tinyvirat_is_an_error(here):
    toy.write_shards(here, [ToyClip("n0", numbered_frames(0), 0)])
    with pytest.raises(WorkError, match="list a source of kind tinyvirat"):
        stage2.split_clips(Clips())


def test_the_ablation_trains_each_network_once(toy_project, capsys):
    ablation_stage2.main()
    written = toy.read_json(toy_project / "metrics/ablation_stage2.json")
    rows = written["rows"]
    assert [(row["spt"], row["masked"]) for row in rows] == [(True, False), (True, True), (False, False), (False, True)]
    assert all(row["steps"] == 4 and row["seconds"] >= 0 and 0 <= row["top1"] <= 1 for row in rows)
    assert written["scratch"]["steps"] == 2
    assert capsys.readouterr().out.count("top-1") == 5
    checkpoints = {path: path.read_bytes() for path in (toy_project / "checkpoints").rglob("*.pt")}
    assert len(checkpoints) == 7
    ablation_stage2.main()
    assert toy.read_json(toy_project / "metrics/ablation_stage2.json") == written
    assert all(path.read_bytes() == content for path, content in checkpoints.items())


def test_a_stage_writes_scores_beside_controls(toy_project, capsys):
    toy.write_params(toy_project, stage2__finetune__validations=1, stage2__validation=0.2)
    stage2.main()
    written = toy.read_json(toy_project / "metrics/stage2.json")
    assert set(written["controls"]) == {"chance", "most_frequent", "logistic_regression"}
    assert written["controls"]["chance"]["top1"] == pytest.approx(1 / 3)
    assert {"top1", "top5", "macro_f1", "f1_multilabel", "micro_f1"} <= set(written["unmasked"]) & set(
        written["masked"]
    )
    assert written["train_clips"] + written["validation_clips"] == 36
    header = (toy_project / "plots/stage2/unmasked_validation.tsv").read_text().splitlines()[0]
    assert header.split("\t") == ["step", "loss", "top1", "top5"]
    assert "controls: chance 33.3%" in capsys.readouterr().out
