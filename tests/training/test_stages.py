"""The stages end to end on toy shards: real files in, real files out."""

import importlib
import math
import shutil
from pathlib import Path

import cv2
import pytest
import torch

from tests.training import toy
from tests.training.conftest import NETWORKS, STAGES
from tests.training.toy import read_json
from training.engine.figures import CELL, GAP, LEFT, SPACE, TITLE, TOP

METHODS = [
    *("mann_pretrained", "mann_random", "lstm_pretrained", "transformer_pretrained", "prototypes_pretrained"),
    *("prototypes_random", "linear_pretrained", "untrained"),
    *("nearest_mean_pretrained", "nearest_mean_random"),
]


def run(stage):
    importlib.import_module(f"training.{stage}").main()


def files_below(root: Path, *folders: str) -> dict[str, bytes]:
    """The content of every file in some folders of a project, by its path."""
    paths = [path for folder in folders for path in (root / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.fixture
def copied_project(trained_project, tmp_path, monkeypatch):
    """A copy of the project in which all stages have run; the test runs in it."""
    shutil.copytree(trained_project, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_network_has_a_checkpoint_and_a_curve(trained_project):
    checkpoints = trained_project / "checkpoints"
    assert sorted(str(path.parent.relative_to(checkpoints)) for path in checkpoints.rglob("*.pt")) == sorted(NETWORKS)
    for name in NETWORKS:
        header, *rows = (trained_project / "plots" / f"{name}.tsv").read_text().splitlines()
        assert header.split("\t")[:2] == ["step", "loss"]
        assert all(math.isfinite(float(row.split("\t")[1])) for row in rows)


def test_pretrain_s_metrics_are_its_losses_and_masked_errors_on_the_held_out_clips(trained_project):
    history = torch.load(trained_project / "checkpoints/pretrain/model.pt", weights_only=True)["history"]["loss"]
    metrics = read_json(trained_project / "metrics/pretrain.json")
    errors = metrics.pop("masked_error")
    assert list(errors) == ["model", "visible_mean", "same_place"]
    assert all(error["mean"] > error["ci95"] > 0 for error in errors.values())
    assert metrics == {
        "test_clips": 20,
        "clips": 27,
        "validation_clips": 1,
        "steps": 4,
        "loss_first": history[0],
        "loss_last": history[-1],
    }


def test_stage_1_measures_both_models_and_the_controls_on_the_held_out_clips(trained_project):
    metrics = read_json(trained_project / "metrics/stage1.json")
    paired, controls = metrics.pop("paired"), metrics.pop("controls")
    assert list(metrics) == ["fine_tuned", "baseline"]
    assert list(controls) == ["visible_mean", "same_place"]
    for values in (*metrics.values(), *controls.values()):
        assert values["clips"] == 20
        for name in ("mse_standardised", "bce_pixels"):
            assert values[name] > values[f"{name}_ci95"] > 0
            assert list(values[f"{name}_by_tick"]) == ["20", "40", "60", "80", "100"]
    assert metrics["fine_tuned"]["mse_standardised"] != metrics["baseline"]["mse_standardised"]
    difference = metrics["baseline"]["mse_standardised"] - metrics["fine_tuned"]["mse_standardised"]
    assert paired["mse_standardised"]["mean"] == pytest.approx(difference)


def test_stage_1_s_figure_has_four_clips_of_four_rows_and_five_ticks(trained_project):
    figure = cv2.imread(str(trained_project / "plots/stage1_reconstruction.png"))
    assert figure.shape == figure_shape()


def figure_shape(ticks: int = 100, cell: int = CELL) -> tuple[int, int, int]:
    """Of stage 1's figure: two panels side by side, and two rows of them."""
    height, width = GAP + TITLE + TOP + 4 * (cell + SPACE), GAP + LEFT + ticks // 20 * (cell + SPACE)
    return (2 * height + GAP, 2 * width + GAP, 3)


def test_stage_2_trains_on_the_publisher_s_split_of_labelled_clips(trained_project):
    metrics = read_json(trained_project / "metrics/stage2.json")
    assert [metrics[name] for name in ("classes", "train_clips", "validation_clips", "test_clips")] == [3, 34, 2, 12]
    for name in ("unmasked", "masked"):
        assert round(12 * metrics[name]["top1"], 6).is_integer()
        assert metrics[name]["top5"] == 1.0  # of three classes
        assert 0 <= metrics[name]["macro_f1"] <= 1


def test_stage_3_s_metrics_are_those_of_each_method_s_history(trained_project):
    metrics = read_json(trained_project / "metrics/stage3.json")
    assert sorted(f"stage3/{name}" for name in metrics) == sorted(
        name for name in NETWORKS if name.startswith("stage3/")
    )
    for method, values in metrics.items():
        path = trained_project / "checkpoints/stage3" / method / "model.pt"
        history = torch.load(path, weights_only=True)["history"]
        assert values["steps"] == 3
        assert values["loss_first"] == history["loss"][0]
        assert values["loss_last"] == pytest.approx(sum(history["loss"]) / 3)
        assert values["accuracy_last"] == pytest.approx(sum(history["accuracy"]) / 3)


def test_evaluation_is_at_chance_before_any_label_is_given(trained_project):
    metrics = read_json(trained_project / "metrics/evaluate.json")
    assert (metrics["classes"], metrics["way"], metrics["instances"]) == (5, 5, 3)
    assert [name for name in metrics if name not in ("classes", "way", "instances", "by_source")] == METHODS
    for method in METHODS:
        values = metrics[method]
        assert list(values["instance_accuracy"]) == ["1", "2", "3"]
        # 40 episodes of 5 predictions: the deviation of the mean is below 0.03
        assert values["instance_accuracy"]["1"] == pytest.approx(0.2, abs=0.12)
        assert list(values["few_shot"]) == ["5way_1shot"]
        assert values["few_shot"]["5way_1shot"] == {
            "mean": values["instance_accuracy"]["2"],
            "ci95": values["instance_ci95"]["2"],
            "episodes": 40,
        }


@pytest.mark.parametrize("stage", STAGES)
def test_a_finished_stage_run_again_changes_nothing(copied_project, monkeypatch, stage):
    before = files_below(copied_project, "checkpoints", "metrics", "plots")

    def never(*_):
        raise AssertionError("a finished run takes no step")

    monkeypatch.setattr(torch.optim.AdamW, "step", never)
    run(stage)
    assert files_below(copied_project, "checkpoints", "metrics", "plots") == before


def test_stage_3_resumes_after_its_first_method(copied_project):
    before = files_below(copied_project, "checkpoints", "metrics", "plots")
    shutil.rmtree(copied_project / "checkpoints/stage3/mann_random")
    shutil.rmtree(copied_project / "checkpoints/stage3/lstm_pretrained")
    run("stage3")
    after = files_below(copied_project, "checkpoints", "metrics", "plots")
    assert after["metrics/stage3.json"] == before["metrics/stage3.json"]
    for name in ("lstm_pretrained", "mann_random"):
        path = f"checkpoints/stage3/{name}/model.pt"
        (copied_project / "old.pt").write_bytes(before[path])
        weights, old = (torch.load(file, weights_only=True)["model"] for file in (path, "old.pt"))
        assert all(torch.equal(weights[key], old[key]) for key in old)


@pytest.mark.parametrize("stage", ["stage1", "stage3", "evaluate"])
def test_later_stages_refuse_a_pre_training_of_older_code(copied_project, monkeypatch, stage):
    from common.errors import WorkError
    from training.engine.runs import VERSIONS

    monkeypatch.setitem(VERSIONS, "pretrain", VERSIONS["pretrain"] + 1)
    with pytest.raises(
        WorkError, match=r"pretrain/model\.pt is of other params, data or code: run `python -m training"
    ):
        run(stage)


@pytest.mark.parametrize(("ticks", "size"), [pytest.param(64, 112, marks=pytest.mark.slow), (50, 32)])
def test_stages_train_on_clips_of_another_size_and_length(tmp_path, monkeypatch, ticks, size):
    clips = toy.orbit_clips(classes=6, held_out=3, per_class=3, ticks=ticks, size=size)
    toy.write_shards(tmp_path, clips)
    small = {"num_frames": 8, "patch": 16, "depth": 1, "heads": 4}
    toy.write_params(tmp_path, stage2__overrides=small, stage3__way=2, evaluate__episodes=4)
    monkeypatch.chdir(tmp_path)
    for stage in STAGES:
        run(stage)
    decoder = torch.load("checkpoints/stage1/model.pt", weights_only=True)["model"]
    assert decoder["decoder.head.weight"].shape[0] == 4 * 8 * 8 * 3  # tubelets stay as they are
    spt = torch.load("checkpoints/stage2/autoencoder/model.pt", weights_only=True)["model"]
    assert spt["encoder.positions.space"].shape[0] == (size // 16) ** 2
    assert cv2.imread("plots/stage1_reconstruction.png").shape == figure_shape(ticks, 112 if size == 112 else 128)
    assert list(read_json(tmp_path / "metrics/evaluate.json")["mann_pretrained"]["few_shot"]) == ["2way_1shot"]


def test_a_model_of_another_size_than_the_clips_gets_them_resized(tmp_path, monkeypatch):
    toy.write_shards(tmp_path, toy.orbit_clips(classes=6, held_out=3, per_class=3, ticks=50, size=64))
    overrides = {"num_frames": 8, "image_size": 32, "dim": 24, "heads": 2, "depth": 1, "decoder_depth": 1}
    toy.write_params(tmp_path, pretrain__overrides=overrides, stage3__way=2, evaluate__episodes=4)
    monkeypatch.chdir(tmp_path)
    for stage in ("pretrain", "stage1", "stage3", "evaluate"):
        run(stage)
    assert cv2.imread("plots/stage1_reconstruction.png").shape == figure_shape(50)


def test_stage_1_takes_a_model_that_predicts_half_of_the_frames(tmp_path, monkeypatch):
    toy.write_shards(tmp_path, toy.orbit_clips(classes=4, held_out=2, per_class=2, ticks=50, size=32))
    overrides = {"num_frames": 16, "target_frames": 8, "target": "per_patch", "dim": 24, "heads": 2, "depth": 1}
    toy.write_params(tmp_path, pretrain__overrides=overrides)
    monkeypatch.chdir(tmp_path)
    run("pretrain")
    run("stage1")
    assert list(read_json(tmp_path / "metrics/stage1.json")["baseline"]["bce_pixels_by_tick"]) == ["20", "40"]


def test_one_held_out_clip_has_a_mean_and_no_interval(tmp_path, monkeypatch):
    toy.write_shards(tmp_path, toy.orbit_clips(classes=3, held_out=1, per_class=1, ticks=50, size=32))
    toy.write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    run("pretrain")
    run("stage1")
    metrics = read_json(tmp_path / "metrics/stage1.json")["baseline"]
    assert metrics["mse_standardised"] > 0
    assert metrics["mse_standardised_ci95"] is None
