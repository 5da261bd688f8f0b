"""pretrain: a masked autoencoder on the clips of the training classes, without their labels."""

import torch
from torch import Generator, Tensor

from common.errors import ParamError
from common.files import write_json
from training import params
from training.clips import Clips
from training.data.in_memory import Resident
from training.engine.loop import METRICS, Run, data_fingerprint, fingerprint, pick_device, train
from training.models import MAE, create_model
from training.models.masking import MASKS
from training.params import Pretrain


def main() -> None:
    """Read the shards, write checkpoints/pretrain/ and metrics/pretrain.json."""
    settings = params.load().pretrain
    model = build(settings).to(pick_device())
    clips = Clips()
    data = Resident(
        clips, clips.select(split="train"), frames=frames_of(model), stride=settings.stride, device=pick_device()
    )
    run = Run("pretrain", fingerprint(settings, data_fingerprint()), settings.seed)
    losses = train(run, model, settings.optimiser, lambda generator: loss_of(model, data, settings, generator))
    tail = losses[-max(1, len(losses) // 20) :]
    metrics = {"clips": len(data), "steps": len(losses), "loss_first": losses[0], "loss_last": sum(tail) / len(tail)}
    write_json(METRICS / "pretrain.json", metrics)
    print(f"pretrain: loss {losses[0]:.4f} to {metrics['loss_last']:.4f} in {len(losses)} steps on {len(data):,} clips")


def build(settings: Pretrain) -> MAE:
    """The freshly initialised autoencoder, the same for the same seed."""
    torch.manual_seed(settings.seed)
    model = create_model(settings.model, **settings.overrides)
    if not isinstance(model, MAE):
        raise ParamError(f"params.yaml: pretrain.model is {settings.model}, a classifier: must be a masked autoencoder")
    return model


def frames_of(model: MAE) -> int:
    """Frames of a window that the model takes."""
    return model.config.num_frames


def loss_of(model: MAE, data: Resident, settings: Pretrain, generator: Generator) -> Tensor:
    """Reconstruction loss of a batch: clips, windows and masks by chance."""
    index = torch.randint(len(data), (settings.optimiser.batch,), generator=generator)
    mask = MASKS[settings.masking](len(index), model.config.grid, settings.ratio, generator)
    loss: Tensor = model(data.random(index, generator), mask).loss
    return loss
