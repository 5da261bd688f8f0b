"""The stages end to end on toy shards: real files in, real files out, and one line when something is wrong."""

import subprocess
import sys

import pytest
import torch

from common.errors import WorkError
from tests.training.conftest import ROOT, draw_strip, read_json
from training import evaluate, pretrain, stage1, stage2, stage3
from training.clips import Clips, window_span
from training.engine.loop import Run, learning_rate, train
from training.params import Optimiser
from training.tools import report


def run_stage(folder, stage):
    return subprocess.run(
        [sys.executable, "-m", "training", stage],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )


def test_clips_come_out_of_the_shards_as_they_were_drawn(project):
    import numpy as np

    clips = Clips()
    frames = clips["toy-c00-0"]
    assert frames.shape == (100, 64, 64, 3)
    truth = draw_strip(0.05, np.random.default_rng(0))
    assert np.abs(frames.numpy().astype(int) - truth).mean() < 2
    batch = clips.batch(["toy-c00-0", "toy-c01-0"], frames=16, stride=4, seed=3)
    assert batch.shape == (2, 16, 64, 64, 3)
    assert torch.equal(batch, clips.batch(["toy-c00-0", "toy-c01-0"], frames=16, stride=4, seed=3))


def test_a_window_longer_than_a_clip_is_refused():
    assert window_span(16, 4) == 61
    with pytest.raises(ValueError, match="a clip has 100"):
        window_span(32, 4)


def test_every_stage_runs_and_says_what_it_found(project):
    pretrain.main()
    stage1.main()
    stage2.main()
    stage3.main()
    evaluate.main()
    report.main()
    results = read_json(project / "metrics/evaluate.json")
    for method in ("mann_pretrained", "mann_scratch", "lstm_pretrained", "untrained", "nearest_mean_pretrained"):
        assert set(results[method]["instance_accuracy"]) == {"1", "2", "3"}
        assert 0.05 < results[method]["instance_accuracy"]["1"] < 0.35
        assert results[method]["few_shot"]["5way_1shot"]["episodes"] == 40
    stage1_metrics = read_json(project / "metrics/stage1.json")
    assert stage1_metrics["baseline"]["mse_standardised"] > 0
    assert set(stage1_metrics["baseline"]["mse_standardised_by_tick"]) <= {"20", "40", "60", "80", "100"}
    assert (
        read_json(project / "metrics/stage2.json")["unmasked"]["top5"]
        >= read_json(project / "metrics/stage2.json")["unmasked"]["top1"]
    )
    assert "5-way" in (project / "reports/results.html").read_text()


class Quadratic(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([3.0, -2.0]))


def noisy_loss(model):
    return lambda generator: ((model.weight + 0.1 * torch.randn(2, generator=generator)) ** 2).sum()


def test_a_run_that_was_killed_ends_as_one_that_was_not(project, monkeypatch):
    settings = Optimiser(steps=120, warmup=10, batch=1, lr=0.05, weight_decay=0.0)
    whole = Quadratic()
    train(Run("whole", "f", 0), whole, settings, noisy_loss(whole))

    class Killed(BaseException):
        pass

    broken, calls = Quadratic(), []

    def until_killed(generator):
        calls.append(1)
        if len(calls) == 77:
            raise Killed
        return noisy_loss(broken)(generator)

    with pytest.raises(Killed):
        train(Run("broken", "f", 0), broken, settings, until_killed)
    resumed, calls_after = Quadratic(), []

    def counted(generator):
        calls_after.append(1)
        return noisy_loss(resumed)(generator)

    train(Run("broken", "f", 0), resumed, settings, counted)
    assert len(calls_after) == 70  # from the checkpoint at step 50
    assert torch.equal(resumed.weight, whole.weight)


def test_a_checkpoint_of_other_params_is_not_resumed(project, capsys):
    settings = Optimiser(steps=50, warmup=1, batch=1, lr=0.05, weight_decay=0.0)
    for print_of in ("one", "two"):
        model = Quadratic()
        losses = train(Run("same", print_of, 0), model, settings, noisy_loss(model))
        assert len(losses) == 50
    assert "starting over" in capsys.readouterr().out


def test_a_loss_that_is_no_number_stops_with_a_reason(project):
    model = Quadratic()
    settings = Optimiser(steps=5, warmup=1, batch=1, lr=0.05, weight_decay=0.0)
    with pytest.raises(WorkError, match="lower the learning rate"):
        train(Run("nan", "f", 0), model, settings, lambda generator: model.weight.sum() * float("nan"))


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    settings = Optimiser(steps=100, warmup=10, batch=1, lr=1.0, weight_decay=0.0)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[-1] < 0.001


def test_a_missing_manifest_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    done = run_stage(tmp_path, "pretrain")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "error: manifests/shards.parquet is not here: run `make dataset`, which makes it"
    ]


def test_a_damaged_shard_names_itself(project):
    shard = project / "data/shards/train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[:] = b"\0" * len(data)
    shard.write_bytes(data)
    with pytest.raises(WorkError, match=r"train-000000\.tar holds no filmstrip"):
        pretrain.main()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("ratio: 0.9 ", "ratio: 1.5 ", "pretrain.ratio is 1.5"),
        ("masking: random", "masking: magic", "pretrain.masking is 'magic'"),
        ("way: 5 ", "ways: 5 ", "stage3.ways is unknown: did you mean way?"),
        ("model: small_2x8x8", "model: small_2x8x9", "small_2x8x9"),
    ],
)
def test_bad_params_are_one_line_and_exit_2(project, old, new, named):
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text().replace(old, new, 1))
    done = run_stage(project, "pretrain")
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
