"""`python -m training`: one line and an exit code for everything that can be wrong."""

import re
import sys

import pytest

from common import command
from tests.training import toy
from training import __main__ as entry


@pytest.fixture
def training(monkeypatch, capsys):
    """Runs `python -m training ARGUMENTS` in this process; returns the exit code and what it printed to stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["training", *arguments])
        code = command.run(entry.main)
        return code, capsys.readouterr().err

    return call


def error_line(err):
    """The only line that a failed command prints beside its progress bars."""
    lines = [line for line in err.strip().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("pretrain", {"pretrain__model": "small_2x8x9"}, "pretrain: model is 'small_2x8x9': must be one of"),
        (
            "pretrain",
            {"pretrain__model": "paper_small_classifier", "pretrain__overrides": {}},
            "pretrain.model is paper_small_classifier, a classif",
        ),
        ("pretrain", {"pretrain__overrides": {"dim": 100, "heads": 7}}, "heads is 7: must divide dim, 100"),
        ("pretrain", {"pretrain__overrides": {"dim": "wide"}}, "dim is 'wide'"),
        ("pretrain", {"pretrain__overrides": {"depth": 0}}, "depth is 0"),
        ("pretrain", {"pretrain__overrides": {"loss": "l3"}}, "loss is 'l3'"),
        ("pretrain", {"pretrain__overrides": {"patch": 7}}, "pretrain: model small_2x8x8"),
        (
            "pretrain",
            {"pretrain__overrides": {"factorised_attention": True}},
            "pretrain.masking is random: must be tube",
        ),
        ("pretrain", {"pretrain__stride": 5}, "pretrain.stride is 5: 24 frames at stride 5 span 116 ticks"),
        ("pretrain", {"pretrain__overrides__num_frames": 60}, "pretrain.stride is 2: 60 frames"),
        ("pretrain", {"stage3__memory__heads": 200}, "stage3.memory: heads is 200: must be at most rows, 128"),
        ("stage1", {"pretrain__ratio": 1.5}, "pretrain.ratio is 1.5"),
        (
            "stage2",
            {"stage2__stride": 20},
            "stage2.stride is 20: 16 frames at stride 20 span 301 ticks: a clip has 100",
        ),
        ("stage2", {"stage2__overrides": {"dim": 191}}, "stage2: model paper_small"),
        ("stage2", {"stage2__model": "paper_small_classifier"}, "stage2.model is paper_small_classifier, a classifier"),
        (
            "stage3",
            {"stage3__way": 50},
            "stage3.way and stage3.instances ask for 50-way episodes of 3 clips a class: 7 cl",
        ),
        ("stage3", {"stage3__instances": 9}, "of 9 clips a class: 0 classes have as many"),
        ("evaluate", {"stage3__way": 6}, "stage3.way is 6: only 5 held-out classes have two clips or more"),
    ],
)
def test_impossible_params_are_one_line_and_exit_2(toy_project, training, stage, changes, message):
    toy.write_params(toy_project, **changes)
    code, err = training(stage)
    assert code == 2
    assert error_line(err).startswith("error: params.yaml: ")
    assert message in error_line(err)


@pytest.mark.parametrize("stage", ["pretrain", "stage1", "stage2", "stage3", "evaluate"])
def test_a_missing_manifest_is_one_line_and_exit_1(here, training, stage):
    toy.write_params(here)
    code, err = training(stage)
    assert (code, err) == (1, "error: manifests/shards.parquet is not here: run `make dataset`, which writes it\n")


@pytest.mark.parametrize("stage", ["stage1", "stage3", "evaluate"])
def test_a_stage_before_pretrain_is_one_line_and_exit_1(toy_project, training, stage):
    code, err = training(stage)
    assert code == 1
    assert error_line(err) == "error: checkpoints/pretrain/model.pt is not here: run the stage that writes it"


def test_a_damaged_shard_is_one_line_and_exit_1(toy_project, training):
    shard = toy_project / "data/shards/train-000000.tar"
    shard.write_bytes(b"\0" * shard.stat().st_size)
    code, err = training("pretrain")
    assert code == 1
    assert re.search(
        r"\d+ clips in a row cannot be read; .*train-000000\.tar holds no filmstrip of toy-", error_line(err)
    )


def test_clips_without_tinyvirat_labels_are_one_line_and_exit_1(here, training):
    toy.write_shards(here, [toy.ToyClip("one", toy.numbered_frames(1), 0)])
    toy.write_params(here)
    code, err = training("stage2")
    assert code == 1
    assert "stage2 needs TinyVIRAT's train and test clips" in error_line(err)


def test_a_diverging_run_is_one_line_and_exit_1(toy_project, training):
    toy.write_params(toy_project, pretrain__overrides__std=[1e-30] * 3)
    code, err = training("pretrain")
    assert code == 1
    assert error_line(err) == (
        "error: pretrain: the loss is nan at step 0: lower the learning rate; checkpoints/pretrain/not_finite.json has its clips"
    )


def test_a_process_ends_with_the_same_line_and_code(toy_project):
    toy.write_params(toy_project, pretrain__overrides={"dim": 100, "heads": 7})
    done = toy.run_python(toy_project, "-m", "training", "pretrain")
    assert done.returncode == 2
    assert done.stderr == "error: params.yaml: pretrain: model small_2x8x8: heads is 7: must divide dim, 100\n"


def test_help_names_every_stage_without_importing_torch(here):
    done = toy.run_python(here, "-m", "training", "--help")
    assert done.returncode == 0
    for name in (*entry.STAGES, *entry.TOOLS, "export-latents"):
        assert name in done.stdout
