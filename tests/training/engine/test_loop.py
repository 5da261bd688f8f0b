"""The training loop: resumption, learning rate, optimiser, curves."""

import math
import sys

import pytest
import torch

from common.errors import WorkError
from tests.training.engine.quadratic import Quadratic, noisy_loss, settings
from training.engine.checkpoints import Run
from training.engine.loop import learning_rate, train


class Killed(BaseException):
    pass


def killed_at(call, compute):
    """`compute`, but its `call`-th call kills the run."""
    calls = []

    def wrapped(generator):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return compute(generator)

    return wrapped


def test_a_killed_and_resumed_run_ends_like_an_uninterrupted_one(here):
    whole = Quadratic()
    history = train(Run("whole", "f", 0), whole, settings(120), noisy_loss(whole))
    broken = Quadratic()
    with pytest.raises(Killed):
        train(Run("broken", "f", 0), broken, settings(120), killed_at(77, noisy_loss(broken)))
    resumed, calls = Quadratic(), []

    def counted(generator):
        calls.append(1)
        return noisy_loss(resumed)(generator)

    resumed_history = train(Run("broken", "f", 0), resumed, settings(120), counted)
    assert len(calls) == 70  # from the checkpoint at step 50
    assert torch.equal(resumed.weight, whole.weight)
    assert resumed_history == history
    assert (here / "plots/broken.tsv").read_text() == (here / "plots/whole.tsv").read_text()


def test_a_finished_run_is_not_trained_again(here):
    first = Quadratic()
    history = train(Run("run", "f", 0), first, settings(20), noisy_loss(first))
    before = (here / "checkpoints/run/model.pt").read_bytes()
    again = Quadratic()

    def never(generator):
        raise AssertionError("a finished run computes nothing")

    assert train(Run("run", "f", 0), again, settings(20), never) == history
    assert torch.equal(again.weight, first.weight)
    assert (here / "checkpoints/run/model.pt").read_bytes() == before


def test_a_checkpoint_of_another_fingerprint_is_not_resumed(here, capsys):
    for fingerprint in ("one", "two"):
        model, calls = Quadratic(), []

        def counted(generator, model=model, calls=calls):
            calls.append(1)
            return noisy_loss(model)(generator)

        train(Run("same", fingerprint, 0), model, settings(50), counted)
        assert len(calls) == 50
    out = capsys.readouterr().out
    assert out == "same: checkpoints/same/model.pt is of other params, data or code; starting over\n"


def test_a_seed_decides_the_run(here):
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        model = Quadratic()
        train(Run(f"run{number}", "f", seed), model, settings(20), noisy_loss(model))
        weights.append(model.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_steps_are_those_of_adamw_with_clipped_gradients(here):
    model, reference = Quadratic(), Quadratic()
    chosen = settings(5, weight_decay=0.1, betas=(0.8, 0.7), clip_norm=0.5)
    train(Run("run", "f", 0), model, chosen, lambda generator: {"loss": (model.weight**2).sum()}, save=False)
    optimiser = torch.optim.AdamW(reference.parameters(), betas=(0.8, 0.7), weight_decay=0.1)
    for step in range(5):
        optimiser.param_groups[0]["lr"] = learning_rate(step, chosen)
        gradient = 2 * reference.weight.detach()
        reference.weight.grad = gradient * min(1, 0.5 / float(gradient.norm()))
        optimiser.step()
    torch.testing.assert_close(model.weight, reference.weight)


def test_frozen_parameters_stay_as_they_are(here):
    model = Quadratic()
    model.frozen = torch.nn.Parameter(torch.tensor(5.0), requires_grad=False)
    train(
        Run("run", "f", 0), model, settings(3), lambda generator: {"loss": (model.weight * model.frozen).square().sum()}
    )
    assert model.frozen == 5.0


def test_the_model_trains_in_train_mode_and_ends_in_eval_mode(here):
    model, modes = Quadratic().eval(), []

    def compute(generator):
        modes.append(model.training)
        return {"loss": model.weight.square().sum()}

    train(Run("run", "f", 0), model, settings(3), compute)
    assert modes == [True] * 3
    assert not model.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(here, value):
    model = Quadratic()
    with pytest.raises(WorkError, match=f"the loss is {value} at step 0: lower the learning rate"):
        train(Run("run", "f", 0), model, settings(5), lambda generator: {"loss": model.weight.sum() * value})


def test_the_learning_rate_warms_up_linearly_and_falls_to_zero_by_a_cosine():
    chosen = settings(100, lr=1.0)
    rates = [learning_rate(step, chosen) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[10 + 30] == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    assert 0 < rates[99] < 0.001


def test_a_warm_up_longer_than_the_run_only_rises():
    assert [learning_rate(step, settings(4, warmup=8, lr=0.8)) for step in range(4)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4]
    )


def test_curves_have_a_row_per_step_and_a_column_per_quantity(here):
    model = Quadratic()
    history = train(Run("stage9/net", "f", 0), model, settings(3), noisy_loss(model))
    lines = (here / "plots/stage9/net.tsv").read_text().splitlines()
    assert lines[0] == "step\tloss\tnoise"
    assert [line.split("\t") for line in lines[1:]] == [
        [str(step), f"{loss:.6f}", f"{noise:.6f}"]
        for step, (loss, noise) in enumerate(zip(history["loss"], history["noise"], strict=True), 1)
    ]


def test_dvclive_logs_every_quantity(here):
    model = Quadratic()
    history = train(Run("run", "f", 0), model, settings(3), noisy_loss(model))
    logged = (here / "dvclive/run/plots/metrics/noise.tsv").read_text().splitlines()
    assert [float(line.split("\t")[1]) for line in logged[1:]] == pytest.approx(history["noise"])


def test_without_dvclive_a_run_ends_all_the_same(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "dvclive.live", None)
    model = Quadratic()
    train(Run("run", "f", 0), model, settings(2), noisy_loss(model))
    assert not (here / "dvclive").exists()


def test_without_saving_nothing_is_written(here):
    model = Quadratic()
    assert len(train(Run("run", "f", 0), model, settings(3), noisy_loss(model), save=False)["loss"]) == 3
    assert list(here.iterdir()) == []
