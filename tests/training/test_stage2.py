"""Stage 2's classifier, loss and scores."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames
from training import stage2
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler
from training.engine.loop import Draw
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.params import Optimiser, Stage2

SHAPE = {"num_frames": 4, "patch": 16, "dim": 24, "depth": 1, "heads": 2, "decoder_dim": 24, "decoder_heads": 2}
CLASSES = 8


@pytest.fixture
def settings():
    optimiser = Optimiser(steps=2, warmup=1, batch=4, lr=0.001, weight_decay=0.0, betas=(0.9, 0.95), clip_norm=1.0)
    return Stage2(
        model="paper_small",
        overrides=SHAPE,
        stride=2,
        masking="random",
        ratio=0.75,
        decoder_ratio=None,
        seed=3,
        pretrain=optimiser,
        finetune=optimiser,
        label_smoothing=0.1,
    )


@pytest.fixture
def data(here):
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n, ticks=20), n) for n in range(40)])
    clips = Clips()
    return ClipWindows(clips, clips.rows, frames=4, stride=2)


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return create_model("paper_small", **SHAPE)


def test_a_classifier_starts_from_the_autoencoder_s_encoder(autoencoder):
    model = stage2.build_classifier(autoencoder, CLASSES, seed=0)
    trained = autoencoder.encoder.state_dict()
    assert all(torch.equal(value, trained[key]) for key, value in model.encoder.state_dict().items())
    assert model.head.weight.shape == (CLASSES, 24)
    assert not model.head.weight.equal(stage2.build_classifier(autoencoder, CLASSES, seed=1).head.weight)


def test_training_a_classifier_leaves_the_autoencoder_as_it_is(autoencoder):
    before = {key: value.clone() for key, value in autoencoder.state_dict().items()}
    model = stage2.build_classifier(autoencoder, CLASSES, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[key]) for key, value in autoencoder.state_dict().items())


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_the_smoothed_cross_entropy_of_a_random_batch(data, autoencoder, settings, masked):
    model = stage2.build_classifier(autoencoder, CLASSES, seed=0).eval()
    labels = torch.arange(40) % CLASSES
    sampler = BatchSampler(data, model.config, Masking("random", 0.75), 4, seed=0, buffer=40)
    task = stage2.classification_task(model, sampler, labels, settings, masked=masked)
    batch = task.draw(Draw(0, torch.Generator().manual_seed(5)))
    loss = task.compute(batch)["loss"]
    scores = model(preprocess(batch.frames, model.config), batch.mask if masked else None).log_softmax(1)
    expected = [-(0.9 * line[labels[clip]] + 0.1 * line.mean()) for line, clip in zip(scores, batch.clips, strict=True)]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


@pytest.mark.parametrize("masked", [False, True])
def test_scores_are_those_of_a_loop_over_clips(data, autoencoder, settings, masked):
    model = stage2.build_classifier(autoencoder, CLASSES, seed=0).eval()
    torch.nn.init.normal_(model.head.weight, std=1.0)
    labels = torch.arange(40) * 7 % CLASSES
    generator, masking = torch.Generator().manual_seed(3), Masking("random", 0.75)
    masks = torch.cat([masking(size, model.config.grid, generator) for size in (32, 8)])
    first, five, guesses = [], [], []
    for clip in range(40):
        video = preprocess(data.even_windows(torch.tensor([clip]), 0, 1), model.config)
        with torch.no_grad():
            logits = model(video, masks[clip : clip + 1] if masked else None)[0]
        better = int((logits > logits[labels[clip]]).sum())
        first.append(better < 1)
        five.append(better < 5)
        guesses.append(int(logits.argmax()))
    scores = stage2.score(model, data, labels, settings, masked=masked)
    top1, top5 = np.mean(first), np.mean(five)
    assert 0 < top1 < top5 < 1  # a model that is right or wrong every time would test nothing
    assert scores["top1"] == pytest.approx(top1)
    assert scores["top5"] == pytest.approx(top5)
    assert scores["top1_ci95"] == pytest.approx(1.96 * math.sqrt(top1 * (1 - top1) / 39))
    assert scores["top5_ci95"] == pytest.approx(1.96 * math.sqrt(top5 * (1 - top5) / 39))
    truth = labels.numpy()
    expected = f1_score(truth, guesses, average="macro", labels=np.unique(truth), zero_division=0)
    assert scores["macro_f1"] == pytest.approx(expected)


def test_fewer_than_five_classes_make_top_5_certain(data, autoencoder, settings):
    model = stage2.build_classifier(autoencoder, 3, seed=0).eval()
    assert stage2.score(model, data, torch.arange(40) % 3, settings, masked=False)["top5"] == 1.0


def test_a_clip_s_class_is_its_first_label(here):
    labels = [("sitting", "running"), ("running",), ("standing", "sitting")]
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n), n, labels=given) for n, given in enumerate(labels)])
    names = ["running", "sitting", "standing"]
    assert stage2.first_labels(Clips().rows, names).tolist() == [1, 0, 2]
