"""The training loop: resumption, accumulation, processes, averages, validation, curves."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from timm.utils import ModelEmaV3

from common.errors import ParamError, WorkError
from tests.training import toy
from tests.training.engine.quadratic import Quadratic, constant, noisy, settings
from training.engine import distributed, loop
from training.engine.checkpoints import Run, load_finished
from training.engine.loop import train
from training.engine.optimiser import create_optimiser, create_schedule
from training.engine.task import Task
from training.models import create_model


class Killed(BaseException):
    pass


def counted(task, calls, killed_at=None):
    """`task`, but its computations are counted in `calls`, and one of them kills the run."""

    def compute(batch):
        calls.append(1)
        if len(calls) == killed_at:
            raise Killed
        return task.compute(batch)

    return replace(task, compute=compute)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_killed_and_resumed_run_ends_like_an_uninterrupted_one(here, ema):
    chosen = settings(120, ema=ema)
    whole, broken, resumed, calls = Quadratic(), Quadratic(), Quadratic(), []
    history = train(Run("whole", "f", 0), whole, chosen, noisy(whole))
    with pytest.raises(Killed):
        train(Run("broken", "f", 0), broken, chosen, counted(noisy(broken), [], killed_at=77))
    resumed_history = train(Run("broken", "f", 0), resumed, chosen, counted(noisy(resumed), calls))
    assert len(calls) == 70  # from the checkpoint at step 50
    assert torch.equal(resumed.weight, whole.weight)
    assert resumed_history == history
    assert (here / "plots/broken.tsv").read_text() == (here / "plots/whole.tsv").read_text()


def test_checkpoints_that_take_long_are_written_less_often(here, monkeypatch):
    monkeypatch.setattr(loop, "_SAVE_SHARE", 1e-9)
    model = Quadratic()
    with pytest.raises(Killed):
        train(Run("run", "f", 0), model, settings(200), counted(noisy(model), [], killed_at=177))
    resumed, calls = Quadratic(), []
    train(Run("run", "f", 0), resumed, settings(200), counted(noisy(resumed), calls))
    assert len(calls) == 150  # from the only checkpoint, at step 50


def test_drop_path_of_a_resumed_run_is_that_of_an_uninterrupted_one(here):
    def model():
        torch.manual_seed(0)
        return create_model("small_2x8x8", num_frames=2, image_size=16, dim=12, depth=2, heads=2, drop_path=0.5)

    def task(model, killed_at=None):
        mask = torch.tensor([[True, False, True, False]] * 8)

        def draw(step):
            if step.step == killed_at:
                raise Killed
            return torch.randn(8, 3, 2, 16, 16, generator=step.generator)

        return Task(draw, lambda video: {"loss": model(video, mask).loss})

    whole, broken, resumed = model(), model(), model()
    train(Run("whole", "f", 0), whole, settings(80, batch=8), task(whole))
    with pytest.raises(Killed):
        train(Run("broken", "f", 0), broken, settings(80, batch=8), task(broken, killed_at=70))
    train(Run("broken", "f", 0), resumed, settings(80, batch=8), task(resumed))
    assert all(torch.equal(*pair) for pair in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_a_finished_run_is_not_trained_again(here):
    first = Quadratic()
    history = train(Run("run", "f", 0), first, settings(20), noisy(first))
    before = (here / "checkpoints/run/model.pt").read_bytes()
    again, calls = Quadratic(), []
    assert train(Run("run", "f", 0), again, settings(20), counted(noisy(again), calls)) == history
    assert calls == []
    assert torch.equal(again.weight, first.weight)
    assert (here / "checkpoints/run/model.pt").read_bytes() == before


def test_a_checkpoint_of_another_fingerprint_is_not_resumed(here, capsys):
    for fingerprint in ("one", "two"):
        model, calls = Quadratic(), []
        train(Run("same", fingerprint, 0), model, settings(50), counted(noisy(model), calls))
        assert len(calls) == 50
    out = capsys.readouterr().out
    assert out == "same: checkpoints/same/model.pt is of other params, data or code; starting over\n"


def test_a_seed_decides_the_run(here):
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        model = Quadratic()
        train(Run(f"run{number}", "f", seed), model, settings(20), noisy(model))
        weights.append(model.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_steps_are_those_of_adamw_with_clipped_gradients(here):
    model, reference = Quadratic(), Quadratic()
    chosen = settings(5, warmup=2, betas=(0.8, 0.7), clip_norm=0.5)
    train(Run("run", "f", 0), model, chosen, constant(lambda: (model.weight**2).sum()), save=False)
    optimiser = torch.optim.AdamW(reference.parameters(), betas=(0.8, 0.7), weight_decay=0.0)
    for rate in (0.5, 0.75, 1.0, 0.75, 0.25):  # of 0.05: two steps of warm-up, then half a cosine
        optimiser.param_groups[0]["lr"] = 0.05 * rate
        gradient = 2 * reference.weight.detach()
        reference.weight.grad = gradient * min(1, 0.5 / float(gradient.norm()))
        optimiser.step()
    torch.testing.assert_close(model.weight, reference.weight)


def test_frozen_parameters_stay_as_they_are(here):
    model = Quadratic()
    model.frozen = torch.nn.Parameter(torch.tensor(5.0), requires_grad=False)
    train(Run("run", "f", 0), model, settings(3), constant(lambda: (model.weight * model.frozen).square().sum()))
    assert model.frozen == 5.0


def test_the_model_trains_in_train_mode_and_ends_in_eval_mode(here):
    model, modes = Quadratic().eval(), []

    def compute():
        modes.append(model.training)
        return model.weight.square().sum()

    train(Run("run", "f", 0), model, settings(3), constant(compute))
    assert modes == [True] * 3
    assert not model.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_its_clips_are_saved(here, value):
    model, steps = Quadratic(), iter(range(100))
    task = Task(
        lambda draw: draw.step,
        lambda step: {"loss": model.weight.sum() * (value if next(steps) == 3 else 1.0)},
        names=lambda step: [f"clip{step}"],
    )
    message = f"the loss is -?{value} at step 3: lower the learning rate; checkpoints/run/not_finite.json has its clips"
    with pytest.raises(WorkError, match=message):
        train(Run("run", "f", 0), model, settings(30), task)
    assert toy.read_json(here / "checkpoints/run/not_finite.json") == {"step": 3, "clips": ["clip3"]}
    assert not (here / "checkpoints/run/model.pt").exists()


def test_accumulated_parts_of_a_batch_give_the_gradient_of_the_whole(here):
    """Parts see their share of the same random numbers."""
    weights, drawn = [], []
    for accumulate in (1, 4):
        model = Quadratic()

        def compute(noise, model=model):
            return {"loss": ((model.weight + noise) ** 2).sum(1).mean()}

        def draw(step):
            share = step.share(torch.randn(8, 2, generator=step.generator))
            drawn.append(share)
            return share

        train(Run(f"run{accumulate}", "f", 0), model, settings(6, batch=8, accumulate=accumulate), Task(draw, compute))
        weights.append(model.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])
    torch.testing.assert_close(torch.cat(drawn[:6]), torch.cat(drawn[6:]))


def test_batches_that_cannot_be_divided_are_an_error(here, monkeypatch):
    monkeypatch.setattr(distributed, "group", lambda: distributed.Group(0, 3))
    model = Quadratic()
    with pytest.raises(
        ParamError, match="batch is 8: must be a multiple of accumulate times the number of processes, 6"
    ):
        train(Run("run", "f", 0), model, settings(6, batch=8, accumulate=2), noisy(model))


PROCESS = """
import json, os, sys, torch
from training.engine.checkpoints import Run
from training.engine.loop import train
from training.engine.task import Task
from tests.training.engine.quadratic import Quadratic, settings

model = Quadratic()
task = Task(
    lambda draw: draw.share(torch.randn(8, 2, generator=draw.generator)),
    lambda noise: {"loss": ((model.weight + noise) ** 2).sum(1).mean()},
)
history = train(Run("run", "f", 0), model, settings(30, batch=8), task)
with open(f"result{os.environ.get('RANK', '')}.json", "w") as file:
    json.dump([model.weight.tolist(), history["loss"]], file)
"""


def test_two_processes_of_torchrun_give_the_weights_of_one_with_the_whole_batch(here):
    (here / "program.py").write_text(PROCESS)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    for folder, launcher in (("one", ()), ("two", torchrun)):
        (here / folder).mkdir()
        result = toy.run_python(here / folder, *launcher, "../program.py")
        assert result.returncode == 0, result.stderr
    single = json.loads((here / "one/result.json").read_text())
    for rank in (0, 1):
        weights, losses = json.loads((here / f"two/result{rank}.json").read_text())
        assert weights == pytest.approx(single[0], rel=1e-5)
        assert losses == pytest.approx(single[1], rel=1e-5)
    assert (here / "two/checkpoints/run/model.pt").exists()


def test_averaged_weights_are_timm_s_and_the_run_s_result(here):
    model, reference = Quadratic(), Quadratic()
    chosen = settings(20, ema=0.9)
    train(Run("run", "f", 0), model, chosen, constant(lambda: model.weight.square().sum()))
    average = ModelEmaV3(reference, 0.9, use_warmup=True)
    optimiser = create_optimiser(reference, chosen)
    schedule = create_schedule(optimiser, chosen)
    for step in range(20):
        schedule.step_update(step)
        optimiser.zero_grad()
        reference.weight.square().sum().backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimiser.step()
        average.update(reference, step + 1)
    torch.testing.assert_close(model.weight, average.module.weight)
    finished = Quadratic()
    load_finished(Run("run", "f", 0), finished)
    assert torch.equal(finished.weight, model.weight)


def test_validation_is_measured_at_even_steps_in_eval_mode(here):
    model, modes = Quadratic(), []

    def validate():
        modes.append(model.training)
        return {"loss": float(model.weight.abs().sum())}

    task = replace(noisy(model), validate=validate)
    train(Run("run", "f", 0), model, settings(30, validations=4), task)
    assert modes == [False] * 4
    rows = [line.split("\t") for line in (here / "plots/run_validation.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["step", "8", "15", "22", "30"]
    assert rows[0][1] == "loss"
    train(Run("run", "other", 0), model, settings(30), noisy(model))
    assert not (here / "plots/run_validation.tsv").exists()


def test_validations_of_a_task_without_any_are_an_error(here):
    model = Quadratic()
    with pytest.raises(ParamError, match="validations is 4: must be 0, it has none"):
        train(Run("run", "f", 0), model, settings(30, validations=4), noisy(model))


def test_a_run_out_of_patience_ends_with_its_best_weights(here):
    model, losses, at = Quadratic(), iter([3.0, 1.0, 2.0, 1.5, 9.0]), []

    def validate():
        at.append(model.weight.detach().clone())
        return {"loss": next(losses)}

    task = replace(noisy(model), validate=validate)
    history = train(Run("run", "f", 0), model, settings(100, validations=10, patience=2), task)
    assert len(history["loss"]) == 40
    assert torch.equal(model.weight, at[1])
    finished = Quadratic()
    load_finished(Run("run", "f", 0), finished)
    assert torch.equal(finished.weight, at[1])
    calls = []
    again = Quadratic()
    assert train(Run("run", "f", 0), again, settings(100, validations=10, patience=2), counted(task, calls)) == history
    assert calls == []
    assert torch.equal(again.weight, at[1])


def test_curves_have_a_row_per_step_and_a_column_per_quantity(here):
    model = Quadratic()
    history = train(Run("stage9/net", "f", 0), model, settings(3), noisy(model))
    lines = (here / "plots/stage9/net.tsv").read_text().splitlines()
    assert lines[0] == "step\tloss\tnoise"
    assert [line.split("\t") for line in lines[1:]] == [
        [str(step), f"{loss:.6f}", f"{noise:.6f}"]
        for step, (loss, noise) in enumerate(zip(history["loss"], history["noise"], strict=True), 1)
    ]


def test_dvclive_logs_every_quantity(here):
    model = Quadratic()
    history = train(Run("run", "f", 0), model, settings(3), noisy(model))
    logged = (here / "dvclive/run/plots/metrics/noise.tsv").read_text().splitlines()
    assert [float(line.split("\t")[1]) for line in logged[1:]] == pytest.approx(history["noise"])


def test_without_dvclive_a_run_ends_all_the_same(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "dvclive.live", None)
    model = Quadratic()
    train(Run("run", "f", 0), model, settings(2), noisy(model))
    assert not (here / "dvclive").exists()


def test_without_saving_nothing_is_written(here):
    model = Quadratic()
    assert len(train(Run("run", "f", 0), model, settings(3), noisy(model), save=False)["loss"]) == 3
    assert list(here.iterdir()) == []
