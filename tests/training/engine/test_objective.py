"""Compilation of the objective, and the run without it where it fails."""

import shutil

import pytest
import torch
from torch._inductor import config as inductor

from tests.training.engine.quadratic import Quadratic, noisy, settings
from training.engine.checkpoints import Run
from training.engine.loop import train
from training.engine.objective import Objective, dry_run
from training.engine.task import Task
from training.models import create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.tubelets import TokenSplit

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


def test_a_dry_run_leaves_parameters_and_gradients_as_they_are():
    model = Quadratic()
    before = model.weight.detach().clone()
    dry_run(Objective(model, lambda batch: {"loss": (model.weight * batch).sum()}), torch.ones(2), torch.device("cpu"))
    assert torch.equal(model.weight, before)
    assert model.weight.grad is None


def test_an_autoencoder_s_objective_is_one_graph():
    torch.compiler.reset()
    model = create_model("small_2x8x8", num_frames=4, image_size=16, dim=12, depth=2, heads=2, drop_path=0.2)
    grid = model.config.grid
    split = TokenSplit.of(Masking("random", 0.5)(2, grid, torch.Generator()), 2, grid)
    objective = Objective(model, lambda batch: {"loss": model(preprocess(batch[0], model.config), batch[1]).loss})
    frames = torch.zeros(2, 4, 16, 16, 3, dtype=torch.uint8)
    torch.compile(objective, fullgraph=True, backend="eager")((frames, split))
    torch.compiler.reset()


@compiler
def test_a_compiled_run_is_that_of_eager_steps_and_says_so(here, capsys):
    losses = {}
    for choice in ("never", "always"):
        model = Quadratic()
        task = noisy(model)
        plain = Task(task.draw, lambda noise, model=model: {"loss": ((model.weight + noise) ** 2).sum()})
        losses[choice] = train(Run(choice, "f", 0, choice), model, settings(12), plain)["loss"]
    assert losses["always"] == pytest.approx(losses["never"], rel=1e-5)
    assert capsys.readouterr().out.startswith("always: compiled in ")
    assert '"compiled": true' in (here / "logs/always.jsonl").read_text()


def test_a_run_that_cannot_be_compiled_goes_on_without(here, capsys):
    model, plain = Quadratic(), Quadratic()
    with inductor.patch({"cpp.cxx": ("/missing/compiler",), "force_disable_caches": True}):
        history = train(Run("run", "f", 0, "always"), model, settings(12), noisy(model))
    assert history == train(Run("plain", "f", 0, "never"), plain, settings(12), noisy(plain))
    assert torch.equal(model.weight, plain.weight)
    out = capsys.readouterr().out
    assert out.startswith("run: cannot be compiled, runs without: ")
    assert out.count("\n") == 1
    assert '"compiled": false' in (here / "logs/run.jsonl").read_text()
