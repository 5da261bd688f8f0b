"""Errors of reconstructed clips over their masked pixels: those of an autoencoder, and of trivial controls beside it."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from training.data.windows import ClipWindows
from training.engine.statistics import mean_ci95
from training.models import MAE
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.tubelets import Grid, patchify, unpatchify, upsample_mask

_BATCH = 32


def visible_mean(video: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """Every pixel as the mean colour of the clip's visible pixels.

    Args:
        video: (B, 3, T, S, S).
        mask: over the tokens of `grid`, (B, N) bool, True = masked.
        grid: of the video.

    Returns:
        (B, 3, T, S, S)
    """
    visible = ~upsample_mask(mask, grid)
    mean = (video * visible).sum((2, 3, 4)) / visible.sum((2, 3, 4))
    return mean[:, :, None, None, None].expand_as(video)


def same_place(video: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """Every patch as the mean over time of the visible patches at its place, or else as `visible_mean`; arguments as there."""
    frames = patchify(video, grid.tubelet, grid.patch).unflatten(2, (grid.tubelet, -1)).mean(2)
    frames = frames.unflatten(1, (grid.time_patches, -1))  # (B, times, places, values of a patch)
    visible = ~mask.unflatten(1, (grid.time_patches, -1)).unsqueeze(3)
    count = visible.sum(1, keepdim=True)
    fallback = patchify(visible_mean(video, mask, grid), grid.tubelet, grid.patch)[:, :1, : frames.shape[3]].unsqueeze(
        1
    )
    mean = torch.where(count > 0, (frames * visible).sum(1, keepdim=True) / count.clamp(min=1), fallback)
    tubelets = mean.repeat(1, grid.time_patches, 1, grid.tubelet).flatten(1, 2)
    return unpatchify(tubelets, grid)


CONTROLS: dict[str, Callable[[Tensor, Tensor, Grid], Tensor]] = {"visible_mean": visible_mean, "same_place": same_place}


@torch.no_grad()
def masked_errors(model: MAE, data: ClipWindows, masking: Masking, seed: int) -> dict[str, tuple[float, float]]:
    """Mean squared error of the masked pixels of each clip's middle window, with half of its 95% interval over clips.

    Pixels are standardised by the model's mean and deviation.

    Args:
        model: in eval mode.
        data: the clips.
        masking: of the windows.
        seed: of the masks.

    Returns:
        By name: `model`, and those of `CONTROLS`.
    """
    generator = Generator().manual_seed(seed)
    grid = model.config.target_grid
    errors: dict[str, list[Tensor]] = {"model": [], **{name: [] for name in CONTROLS}}
    for index in data.batches(_BATCH):
        mask = masking(len(index), model.config.grid, generator)
        video = preprocess(data.even_windows(index, 0, 1), model.config)
        truth = video[:, :, model.target_frames(video.device)]
        mask = mask.to(video.device)
        masked = upsample_mask(mask, grid)
        filled = {name: control(truth, mask, grid) for name, control in CONTROLS.items()}
        filled["model"] = model.reconstruct(video, mask)
        for name, guess in filled.items():
            squared = (guess - truth).square().mean(1, keepdim=True) * masked
            errors[name].append(squared.sum((1, 2, 3, 4)) / masked.sum((1, 2, 3, 4)))
    return {name: mean_ci95(torch.cat(parts).cpu()) for name, parts in errors.items()}
