"""stage 1: the masked autoencoder fine-tuned for reconstruction on the composite, against the one that is not.

Both are measured on the held-out classes, in two honest units: mean squared error in standardised pixel space
(mean 0.45, deviation 0.225) and binary cross entropy of pixels on [0, 1], over all masked patches and at every 20th tick
of the window.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from common.files import write_bytes, write_json
from training import params, pretrain
from training.clips import Clips
from training.data.in_memory import Resident
from training.engine.loop import CHECKPOINTS, METRICS, Run, data_fingerprint, fingerprint, pick_device, train
from training.engine.statistics import mean_ci95
from training.models import MAE, load_pretrained
from training.models.masking import MASKS
from training.params import TrainingParams

FIGURE = Path("plots/stage1_reconstruction.png")
_MEAN, _STD = 0.45, 0.225
_BATCH = 32


def main() -> None:
    """Read the shards and checkpoints/pretrain/, write checkpoints/stage1/, metrics/stage1.json and the figure."""
    settings = params.load()
    stage = settings.stage1
    clips = Clips()
    baseline = load_pretrained(pretrain.build(settings.pretrain), CHECKPOINTS / "pretrain" / "model.pt").to(
        pick_device()
    )
    tuned = load_pretrained(pretrain.build(settings.pretrain), CHECKPOINTS / "pretrain" / "model.pt").to(pick_device())
    data = _resident(clips, "train", tuned, settings)
    run = Run("stage1", fingerprint(settings.pretrain, stage, data_fingerprint()), stage.seed)

    def loss_of(generator: Generator) -> Tensor:
        index = torch.randint(len(data), (stage.optimiser.batch,), generator=generator)
        mask = MASKS[settings.pretrain.masking](len(index), tuned.config.grid, settings.pretrain.ratio, generator)
        video = data.random(index, generator)
        return F.mse_loss(_hidden(tuned.reconstruct(video, mask), mask, tuned), _hidden(video, mask, tuned))

    train(run, tuned, stage.optimiser, loss_of)
    test = _resident(clips, "test", tuned, settings)
    results = {
        name: measure(model, test, settings) for name, model in (("fine_tuned", tuned), ("baseline", baseline.eval()))
    }
    write_json(METRICS / "stage1.json", results)
    _draw(tuned, test, settings)
    for name, values in results.items():
        print(
            f"stage1: {name}: mse_standardised {values['mse_standardised']:.4f} +- {values['mse_standardised_ci95']:.4f}"
        )


@torch.no_grad()
def measure(model: MAE, data: Resident, settings: TrainingParams) -> dict[str, object]:
    """Reconstruction error of every clip's masked pixels, clip by clip, with 95% intervals."""
    generator = Generator().manual_seed(settings.stage1.seed)
    squared, entropy = [], []
    for index in torch.arange(len(data)).split(_BATCH):
        mask = MASKS[settings.pretrain.masking](len(index), model.config.grid, settings.pretrain.ratio, generator)
        video = data.even(index, 0, 1)
        filled = model.reconstruct(video, mask)
        weight = _pixel_mask(mask, model).to(video.device)
        truth, guess = (value * _STD + _MEAN for value in (video, filled))
        cross = F.binary_cross_entropy(guess.clamp(1e-6, 1 - 1e-6), truth.clamp(0, 1), reduction="none")
        squared.append(_per_frame((filled - video).square(), weight))
        entropy.append(_per_frame(cross, weight))
    result: dict[str, object] = {"clips": len(data)}
    for name, values in (("mse_standardised", torch.cat(squared)), ("bce_pixels", torch.cat(entropy))):
        result[name], result[f"{name}_ci95"] = mean_ci95(values.nanmean(1))
        ticks = {}
        for tick in range(20, (data.frames - 1) * data.stride + 2, 20):
            column = values[:, (tick - 1) // data.stride]
            ticks[str(tick)] = dict(zip(("mean", "ci95"), mean_ci95(column[~column.isnan()]), strict=True))
        result[f"{name}_by_tick"] = ticks
    return result


def _resident(clips: Clips, split: str, model: MAE, settings: TrainingParams) -> Resident:
    frames = pretrain.frames_of(model)
    rows = clips.select(split=split)
    return Resident(clips, rows, frames=frames, stride=settings.pretrain.stride, device=pick_device())


def _pixel_mask(mask: Tensor, model: MAE) -> Tensor:
    """`(B, N)` over tokens -> `(B, 1, T, H, W)` over pixels, 1 where hidden."""
    grid, shape = model.config.grid, model.config
    side = shape.image_size // shape.patch
    pixels = mask.reshape(len(mask), 1, grid.times, side, side).float()
    return F.interpolate(pixels, (shape.num_frames, shape.image_size, shape.image_size), mode="nearest")


def _hidden(video: Tensor, mask: Tensor, model: MAE) -> Tensor:
    return video * _pixel_mask(mask, model).to(video.device)


def _per_frame(error: Tensor, weight: Tensor) -> Tensor:
    """Mean over a frame's hidden pixels, `(B, T)`; not a number where nothing is hidden."""
    weight = weight.expand_as(error)
    return (error * weight).sum((1, 3, 4)).div(weight.sum((1, 3, 4))).cpu()


@torch.no_grad()
def _draw(model: MAE, data: Resident, settings: TrainingParams) -> None:
    """Figure 3: truth, what the encoder sees, and the reconstruction, eight frames of three clips."""
    index = torch.arange(len(data))[:: max(1, len(data) // 3)][:3]
    video = data.even(index, 0, 1)
    generator = Generator().manual_seed(settings.stage1.seed)
    mask = MASKS[settings.pretrain.masking](len(index), model.config.grid, settings.pretrain.ratio, generator)
    seen = torch.where(_pixel_mask(mask, model).bool().to(video.device), torch.zeros_like(video), video)
    rows = []
    for clip in range(len(index)):
        for picture in (video, seen, model.reconstruct(video, mask)):
            frames = picture[clip].permute(1, 2, 3, 0)[:: max(1, data.frames // 8)][:8]
            rows.append(torch.cat(list(frames), 1))
    pixels = (torch.cat(rows) * _STD + _MEAN).clamp(0, 1).mul(255).byte().cpu().numpy()
    enlarged = np.repeat(np.repeat(pixels, 2, 0), 2, 1)
    write_bytes(FIGURE, cv2.imencode(".png", enlarged[..., ::-1])[1].tobytes())
