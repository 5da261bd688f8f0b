"""stage1's starting weights, and what is said about bad ones."""

import json
import re
from dataclasses import replace

import pytest
import torch

from common.errors import ParamError, WorkError
from tests.training import toy
from tests.training.models.published import PUBLISHED, SMALL
from tests.training.toy import read_json
from training import params, stage1
from training.clips import Clips
from training.engine.runs import stage1_run
from training.models import export_pretrained

MAE_ST = next(name for name in PUBLISHED if "MAE-ST" in name)
LOSSES = ("mse_standardised", "bce_pixels", "mse_normalised")


def write_weights(path, *, encoder_only=False):
    """Write a small checkpoint with MAE-ST's published keys."""
    published = PUBLISHED[MAE_ST]
    weights = published.weights()
    if encoder_only:
        weights = {key: value for key, value in weights.items() if not key.startswith(("decoder", "pred_head", "mask"))}
    torch.save(published.wrap(weights), path)
    return str(path)


@pytest.fixture
def project(here):
    """Toy clips of 100 ticks, and params that start from small published weights; nothing is pre-trained."""
    toy.write_shards(here, toy.orbit_clips(classes=4, held_out=2, per_class=2))
    weights = write_weights(here / "published.pth")
    changes = {"weights": weights, "overrides": SMALL, "drop_path": 0.1, "test_clips": 3}
    toy.write_params(here, pretrain__stride=4, **{f"stage1__{name}": value for name, value in changes.items()})
    return here


def change(project, **values):
    """Replace values of the section stage1."""
    import yaml

    content = yaml.safe_load((project / "params.yaml").read_text())
    content["stage1"] |= values
    (project / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_stage_1_fine_tunes_published_weights_that_predict_8_of_16_frames(project, capsys):
    published = PUBLISHED[MAE_ST].weights()
    model = stage1.load_start(params.load(), Clips().size)
    assert (model.config.num_frames, model.config.target_frames, model.config.image_size) == (16, 8, 64)
    assert (model.config.drop_path, model.training) == (0.1, False)
    assert torch.equal(model.encoder.norm.weight, published["norm.weight"])
    stage1.main()
    metrics = read_json(project / "metrics/stage1.json")
    for values in (metrics["fine_tuned"], metrics["baseline"]):
        assert values["clips"] == 3
        assert all(values[loss] > 0 for loss in LOSSES)
        assert list(values["mse_normalised_by_tick"]) == ["20", "40", "60", "80", "100"]
    assert "mse_normalised" not in metrics["controls"]["same_place"]
    assert set(metrics["paired"]) == set(LOSSES)
    history = torch.load("checkpoints/stage1/model.pt", weights_only=True)["history"]["loss"]
    assert len(history) == 2
    assert "baseline less fine_tuned" in capsys.readouterr().out


def test_the_digest_of_the_weights_is_part_of_the_run_and_what_is_measured_is_not(project):
    settings = params.load()
    before = stage1_run(settings).fingerprint
    (project / "published.pth").rename(project / "moved.pth")
    moved = replace(settings, stage1=replace(settings.stage1, weights="moved.pth", test_clips=None))
    assert stage1_run(moved).fingerprint == before
    optimiser = replace(settings.pretrain.optimiser, steps=9)
    assert stage1_run(replace(moved, pretrain=replace(settings.pretrain, optimiser=optimiser))).fingerprint == before
    assert stage1_run(replace(moved, pretrain=replace(settings.pretrain, stride=3))).fingerprint != before
    with (project / "moved.pth").open("ab") as file:
        file.write(b"x")
    assert stage1_run(moved).fingerprint != before


def test_weights_without_a_decoder_are_refused(project):
    write_weights(project / "published.pth", encoder_only=True)
    message = "published.pth has an encoder and no decoder: a masked autoencoder needs both"
    with pytest.raises(WorkError, match=re.escape(message)):
        stage1.main()


def test_weights_of_another_config_are_refused_and_the_difference_is_named(project):
    change(project, overrides=SMALL | {"dim": 24})
    with pytest.raises(
        WorkError, match=r"does not fit the model: .*encoder\.norm\.weight is \(48,\), the model has \(24,\)"
    ):
        stage1.main()


def test_training_clips_that_validate_are_not_trained_on(project, monkeypatch):
    augment = {"crop_scale": [0.5, 1.0], "flip": 0.5, "rand_augment": "rand-m7-mstd0.5-inc1"}
    change(project, validation=0.25, augment=augment, optimiser=toy.optimiser(4) | {"validations": 2})
    drawn = set()
    names = stage1.BatchSampler.names

    def sample(self, draw, wrapped=stage1.BatchSampler.__call__):
        batch = wrapped(self, draw)
        drawn.update(names(self, batch))
        return batch

    monkeypatch.setattr(stage1.BatchSampler, "__call__", sample)
    stage1.main()
    assert len(drawn) == 3  # of four training clips
    header, *rows = (project / "plots/stage1_validation.tsv").read_text().splitlines()
    assert header.split("\t") == ["step", "loss"]
    assert [row.split("\t")[0] for row in rows] == ["2", "4"]


def test_own_exported_weights_are_taken(project):
    model = stage1.load_start(params.load(), 64)
    export_pretrained(model, project / "own.pt")
    change(project, weights="own.pt")
    again = stage1.load_start(params.load(), 64)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": "none.pth"}, "none.pth: No such file or directory"),
        ({"weights": None}, "checkpoints/pretrain/model.pt is not here"),
    ],
)
def test_missing_weights_are_one_line(project, values, message):
    change(project, **values)
    with pytest.raises(WorkError, match=re.escape(message)):
        stage1.main()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "vjepa"}, "params.yaml: stage1: model is 'vjepa': must be one of"),
        (
            {"model": "paper_small_classifier", "overrides": {}},
            "params.yaml: stage1.model is paper_small_classifier, a classifier",
        ),
        ({"overrides": SMALL | {"classes": 5}}, "params.yaml: stage1.model is mae_st_large, a classifier"),
        ({"overrides": SMALL | {"dim": 25}}, "heads is 3: must divide dim, 25"),
        ({"augment": {"rand_augment": "strong"}}, "params.yaml: stage1.augment.rand_augment is 'strong': must be like"),
        ({"validation": 0.6}, "stage1.validation is 0.6: must be"),
        (
            {"validation": 0.0, "optimiser": toy.optimiser(2) | {"validations": 1}},
            "stage1: validation is 0: must be above 0",
        ),
    ],
)
def test_models_that_cannot_be_fine_tuned_are_named(project, values, message):
    change(project, **values)
    with pytest.raises(ParamError, match=re.escape(message)):
        stage1.main()


def test_a_window_longer_than_the_clips_is_named(project):
    change(project, overrides=SMALL | {"num_frames": 32, "target_frames": 16})
    with pytest.raises(ParamError, match=re.escape("pretrain.stride is 4: 32 frames at stride 4 span 125 ticks")):
        stage1.main()


def test_no_held_out_clips_are_one_line(here):
    toy.write_shards(here, toy.orbit_clips(classes=2, held_out=0, per_class=2, ticks=50, size=32))
    toy.write_params(here)
    from training import pretrain

    with pytest.raises(WorkError, match="there are no clips"):
        pretrain.main()
    with pytest.raises(WorkError, match="there are no clips"):
        stage1.main()


def test_clips_shorter_than_a_window_are_measured_up_to_their_last_tick(project):
    clips = toy.orbit_clips(classes=4, held_out=2, per_class=2)
    for clip in clips:
        clip.valid_frames = 30
    for folder in ("data", "manifests"):
        (project / folder).rename(project / f"old_{folder}")
    toy.write_shards(project, clips)
    change(project, overrides=SMALL | {"target_frames": None})
    with pytest.raises(WorkError, match=r"decoder\.head\.weight"):  # MAE-ST's predicts half of the frames
        stage1.main()
    change(project, overrides=SMALL)
    stage1.main()
    metrics = json.loads((project / "metrics/stage1.json").read_text())
    assert list(metrics["baseline"]["mse_standardised_by_tick"]) == ["20"]
