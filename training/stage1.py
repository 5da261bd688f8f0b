"""stage1: the masked autoencoder fine-tuned for reconstruction on the composite, compared with the pre-trained one.

Both are measured on the held-out classes, over masked pixels: mean squared error of standardised pixels (by the model's mean
and deviation), and binary cross entropy of pixels on [0, 1]; overall, and every 20 ticks of a clip's middle window.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from common.files import write_bytes
from common.paths import PLOTS
from training import params
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.batches import Batch, BatchSampler
from training.engine.loop import Task, train
from training.engine.metrics import write_metrics
from training.engine.runs import stage1_run
from training.engine.setup import build_masking, load_autoencoder, load_windows
from training.engine.statistics import mean_ci95
from training.models import MAE
from training.models.masking import Masking
from training.models.preprocess import preprocess, unstandardise
from training.models.tubelets import upsample_mask

_BATCH = 32
_EVERY_TICKS = 20  # the paper reports every 20th frame
_EPS = 1e-6  # keeps logarithms finite


def main() -> None:
    """Read the shards and checkpoints/pretrain/; write checkpoints/stage1/, metrics/stage1.json, the curve and the figure."""
    settings = params.load()
    stage = settings.stage1
    clips = Clips(shards=settings.loader.shards)
    baseline, tuned = load_autoencoder(settings, clips.size), load_autoencoder(settings, clips.size)
    masking = build_masking(settings.pretrain)
    data, test = (
        load_windows(clips, clips.select(split=split), tuned.config, settings.pretrain, "pretrain", settings.loader)
        for split in ("train", "test")
    )

    sampler = BatchSampler(
        data, tuned.config, masking, stage.optimiser.batch, seed=stage.seed, buffer=settings.loader.shuffle
    )

    def compute(batch: Batch) -> dict[str, Tensor]:
        return {"loss": reconstruction_error(tuned, preprocess(batch.frames, tuned.config), batch.mask)}

    train(stage1_run(settings), tuned, stage.optimiser, Task(sampler, compute, sampler.names))
    results = {
        name: measure(model, test, masking, stage.seed)
        for name, model in (("fine_tuned", tuned), ("baseline", baseline))
    }
    write_metrics("stage1", results)
    figure = draw_reconstructions(tuned, test, masking, stage.seed)
    write_png(PLOTS / "stage1_reconstruction.png", figure)
    for name, values in results.items():
        print(
            f"stage1: {name}: mse_standardised {values['mse_standardised']:.4f} ± {values['mse_standardised_ci95']:.4f}"
        )


def reconstruction_error(model: MAE, video: Tensor, mask: Tensor) -> Tensor:
    """Squared error of the masked pixels, averaged over all pixels; video (B, 3, T, S, S), mask (B, N) -> scalar."""
    masked = upsample_mask(mask.to(video.device), model.config.target_grid)
    return F.mse_loss(model.reconstruct(video, mask) * masked, target_video(model, video) * masked)


def target_video(model: MAE, video: Tensor) -> Tensor:
    """The frames (B, 3, T', S, S) of a video (B, 3, T, S, S) that the model reconstructs: all, unless `target_frames` is set."""
    return video[:, :, model.target_frames(video.device)]


@torch.no_grad()
def measure(model: MAE, data: ClipWindows, masking: Masking, seed: int) -> dict[str, object]:
    """Mean errors of the clips' masked pixels with 95% intervals over clips, by the names in metrics/stage1.json.

    Args:
        model: in eval mode.
        data: the clips; the middle window of each is used.
        masking: of the windows.
        seed: of the masks.
    """
    generator = Generator().manual_seed(seed)
    config = model.config
    squared, entropy = [], []
    for index in data.batches(_BATCH):
        mask = masking(len(index), config.grid, generator)
        video = preprocess(data.even_windows(index, 0, 1), config)
        masked = upsample_mask(mask.to(video.device), config.target_grid)
        filled, truth = model.reconstruct(video, mask), target_video(model, video)
        squared.append(_mean_per_frame((filled - truth).square(), masked))
        guess, pixels = (unstandardise(value, config.mean, config.std) for value in (filled, truth))
        cross = F.binary_cross_entropy(guess.clamp(_EPS, 1 - _EPS), pixels.clamp(0, 1), reduction="none")
        entropy.append(_mean_per_frame(cross, masked))
    # The last frame at or before a tick, counted from 1 in the window.
    ticks = (model.target_frames() * data.stride + 1).tolist()
    result: dict[str, object] = {"clips": len(data)}
    for name, values in (("mse_standardised", torch.cat(squared)), ("bce_pixels", torch.cat(entropy))):
        result[name], result[f"{name}_ci95"] = mean_ci95(values.nanmean(1))
        by_tick = {}
        for tick in range(_EVERY_TICKS, ticks[-1] + 1, _EVERY_TICKS):
            column = values[:, sum(shown <= tick for shown in ticks) - 1]
            by_tick[str(tick)] = dict(zip(("mean", "ci95"), mean_ci95(column[~column.isnan()]), strict=True))
        result[f"{name}_by_tick"] = by_tick
    return result


@torch.no_grad()
def draw_reconstructions(model: MAE, data: ClipWindows, masking: Masking, seed: int) -> np.ndarray:
    """Figure 3: eight frames of three clips, each clip in three rows: original, visible to the encoder, reconstruction.

    Returns:
        (9 * 2 S, 8 * 2 S, 3) uint8 RGB, enlarged twice.
    """
    index = torch.arange(len(data))[:: max(1, len(data) // 3)][:3]
    config = model.config
    video = preprocess(data.even_windows(index, 0, 1), config)
    mask = masking(len(index), config.grid, Generator().manual_seed(seed))
    original = target_video(model, video)
    visible = original.masked_fill(upsample_mask(mask.to(video.device), config.target_grid), 0)
    rows = []
    for clip in range(len(index)):
        for picture in (original, visible, model.reconstruct(video, mask)):
            frames = picture[clip].unbind(1)[:: max(1, picture.shape[2] // 8)][:8]
            rows.append(torch.cat(frames, 2))
    pixels = unstandardise(torch.cat(rows, 1)[None, :, None], config.mean, config.std)[0, :, 0]
    values = pixels.clamp(0, 1).mul(255).byte().permute(1, 2, 0).cpu().numpy()
    return np.repeat(np.repeat(values, 2, 0), 2, 1)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB pixels, atomically."""
    write_bytes(path, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


def _mean_per_frame(error: Tensor, masked: Tensor) -> Tensor:
    """Mean of `error` (B, 3, T, S, S) over the pixels of each frame where `masked` (B, 1, T, S, S): (B, T), NaN for none."""
    weight = masked.expand_as(error)
    return (error * weight).sum((1, 3, 4)).div(weight.sum((1, 3, 4))).cpu()
