"""The training loop of all stages: AdamW, warm-up and cosine, checkpoints, loss curves."""

import contextlib
import math
from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from common.errors import WorkError
from common.files import write_bytes
from common.paths import PLOTS
from training.engine import checkpoints
from training.engine.checkpoints import History, Run
from training.params import Optimiser

_SAVE_EVERY = 50  # steps


def train(
    run: Run,
    model: nn.Module,
    settings: Optimiser,
    compute: Callable[[Generator], Mapping[str, Tensor]],
    *,
    save: bool = True,
) -> History:
    """Minimise a loss over the model's trainable parameters, resuming the run's checkpoint if there is one.

    On the CPU a run that was killed and resumed gives the same weights as one that was not: `compute` draws all random
    numbers from its argument, whose state is part of the checkpoint, as is that of torch's global generator (dropout).

    Args:
        run: names the checkpoint.
        model: on its training device; it ends in eval mode.
        settings: of the optimiser.
        compute: what a step computes, scalar tensors by name; `loss` is minimised, all are recorded.
        save: write checkpoints and the loss curve.

    Returns:
        The recorded values of every step, those before a resumption included.

    Raises:
        WorkError: the loss is infinite or NaN.
    """
    torch.manual_seed(run.seed)
    device = next(model.parameters()).device
    generator = Generator().manual_seed(run.seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=settings.lr, betas=(settings.betas[0], settings.betas[1]), weight_decay=settings.weight_decay
    )
    history = checkpoints.resume(run, model, optimiser, generator) if save else {}
    first = len(history.get("loss", ()))
    model.train()
    with tqdm(desc=run.name, total=settings.steps, initial=first, unit="step", disable=None) as bar:
        for step in range(first, settings.steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, settings)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                measured = compute(generator)
            for name, value in measured.items():
                history.setdefault(name, []).append(float(value.detach()))
            loss = history["loss"][-1]
            if not math.isfinite(loss):
                raise WorkError(f"{run.name}: the loss is {loss} at step {step}: lower the learning rate")
            optimiser.zero_grad(set_to_none=True)
            measured["loss"].backward()
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimiser.step()
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            done = step + 1 == settings.steps
            if save and (done or (step + 1) % _SAVE_EVERY == 0):
                checkpoints.save(run, model, optimiser, generator, history, done=done)
    model.eval()
    if save:
        _write_curves(run.name, history)
    return history


def learning_rate(step: int, settings: Optimiser) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then half a cosine."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))


def _write_curves(name: str, history: History) -> None:
    """Write plots/<name>.tsv, one row per step, and log through DVCLive where it is installed."""
    rows = ["\t".join(("step", *history))]
    for step, values in enumerate(zip(*history.values(), strict=True), 1):
        rows.append("\t".join((str(step), *(f"{value:.6f}" for value in values))))
    write_bytes(PLOTS / f"{name}.tsv", ("\n".join(rows) + "\n").encode())
    with contextlib.suppress(ImportError):
        from dvclive.live import Live

        with Live(f"dvclive/{name}", dvcyaml=None, save_dvc_exp=False, monitor_system=False) as live:
            for step, values in enumerate(zip(*history.values(), strict=True), 1):
                live.step = step
                for column, value in zip(history, values, strict=True):
                    live.log_metric(column, value)
