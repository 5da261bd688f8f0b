"""One training loop for every stage: AdamW, warm-up and cosine, checkpoints that resume, metrics by DVCLive."""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from common.errors import WorkError
from common.files import replacing, write_bytes
from training.models.pretrained import FORMAT
from training.params import Optimiser

CHECKPOINTS, METRICS, PLOTS = Path("checkpoints"), Path("metrics"), Path("plots")
_SAVE_EVERY = 50  # steps; what a kill costs at most


@dataclass(frozen=True)
class Run:
    """A named training run. `fingerprint` tells everything that shapes it, so that another run's checkpoint is not resumed."""

    name: str
    fingerprint: str
    seed: int

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return CHECKPOINTS / self.name / "model.pt"


def fingerprint(*parts: Any) -> str:
    """Digest of JSON-like values and dataclasses."""
    plain = [asdict(part) if hasattr(part, "__dataclass_fields__") else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


def data_fingerprint(manifest: Path = Path("manifests/shards.parquet")) -> str:
    """Digest of the manifest that names the training data by content."""
    try:
        return hashlib.sha256(manifest.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        raise WorkError(f"{manifest} is not here: run `make dataset`, which makes it") from None


def pick_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    run: Run, model: nn.Module, settings: Optimiser, loss_of: Callable[[Generator], Tensor], *, save: bool = True
) -> list[float]:
    """Minimise `loss_of(generator)` over `model`'s trainable parameters; return the losses.

    Everything left to chance comes from the generator, which is part of the checkpoint: a run that was killed and
    resumed gives the same model as one that was not.

    Raises:
        WorkError: the loss is no number.
    """
    torch.manual_seed(run.seed)
    device = next(model.parameters()).device
    generator = Generator().manual_seed(run.seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=settings.lr, betas=(0.9, 0.95), weight_decay=settings.weight_decay)
    losses = _resume(run, model, optimiser, generator) if save else []
    bar = tqdm(desc=run.name, total=settings.steps, initial=len(losses), unit="step", disable=None)
    model.train()
    with bar:
        while len(losses) < settings.steps:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(len(losses), settings)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = loss_of(generator)
            if not torch.isfinite(loss):
                raise WorkError(f"{run.name}: the loss is {loss.item()} at step {len(losses)}: lower the learning rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            losses.append(loss.item())
            bar.update()
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
            if save and (len(losses) % _SAVE_EVERY == 0 or len(losses) == settings.steps):
                _save(run, model, optimiser, generator, losses)
    model.eval()
    if save:
        _log(run.name, losses)
    return losses


def learning_rate(step: int, settings: Optimiser) -> float:
    """Linear warm-up, then half a cosine."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))


def _save(run: Run, model: nn.Module, optimiser: Any, generator: Generator, losses: list[float]) -> None:
    state = {
        "format": FORMAT,  # `load_pretrained` reads the weights out of it
        "fingerprint": run.fingerprint,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "chance": torch.get_rng_state(),
        "losses": losses,
    }
    with replacing(run.path) as temporary:
        torch.save(state, temporary)


def _resume(run: Run, model: nn.Module, optimiser: Any, generator: Generator) -> list[float]:
    """Continue a checkpoint of this very run; start over, and say so, where it is of another."""
    if not run.path.exists():
        return []
    try:
        state = torch.load(run.path, map_location="cpu", weights_only=True)
        if state["fingerprint"] != run.fingerprint:
            print(f"{run.name}: the checkpoint is of other params or data; starting over")
            return []
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    except Exception as error:  # torch names damage by a dozen exception types
        print(f"{run.name}: the checkpoint cannot be read ({str(error).splitlines()[0]}); starting over")
        return []
    generator.set_state(state["generator"])
    torch.set_rng_state(state["chance"])
    losses: list[float] = state["losses"]
    return losses


def _log(name: str, losses: list[float]) -> None:
    """The loss curve for DVC's plots, and through DVCLive where that is installed."""
    rows = "".join(f"{step}\t{loss:.6f}\n" for step, loss in enumerate(losses, 1))
    write_bytes(PLOTS / f"{name}.tsv", f"step\tloss\n{rows}".encode())
    with contextlib.suppress(ImportError):
        from dvclive.live import Live

        with Live(f"dvclive/{name}", dvcyaml=None, save_dvc_exp=False, monitor_system=False) as live:
            for step, loss in enumerate(losses, 1):
                live.step = step
                live.log_metric("loss", loss)
