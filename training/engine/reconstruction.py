"""Errors of reconstructed clips at their masked tokens: those of autoencoders, and of trivial controls beside them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from training.data.windows import ClipWindows
from training.engine.statistics import mean_ci95
from training.models import MAE, ModelConfig
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.targets import to_pixels, to_target
from training.models.tubelets import Grid, TokenSplit, patchify

BATCH = {"cpu": 8, "cuda": 64}  # clips; on a CPU so few that their pixels stay in its cache
_EPS = 1e-6  # keeps logarithms finite

Errors = dict[str, Tensor]
"""By the name of a loss: its mean over each masked tubelet's frames, (B, M, frames of a tubelet)."""


class TokenErrors(NamedTuple):
    """Errors of a batch of clips at their masked tokens, by the name of the reconstruction."""

    masked: Tensor  # (B, M) token numbers, ascending
    by_name: dict[str, Errors]


def visible_mean(tubelets: Tensor, split: TokenSplit, grid: Grid) -> Tensor:  # noqa: ARG001 (as all controls)
    """Every masked pixel as the mean colour of the clip's visible pixels.

    Args:
        tubelets: pixels of all tokens, (B, N, V), colours last.
        split: the visible and the masked tokens.
        grid: of the tokens.

    Returns:
        (B, M, V) for the masked tokens.
    """
    colour = torch.unflatten(rows(tubelets, split.visible), 2, (-1, 3)).mean((1, 2))
    return colour.repeat(1, tubelets.shape[2] // 3).unsqueeze(1).expand(-1, split.masked.shape[1], -1)


def same_place(tubelets: Tensor, split: TokenSplit, grid: Grid) -> Tensor:
    """Every masked patch as the mean over time of the visible patches at its place, or else as `visible_mean`; as there."""
    patches = torch.unflatten(rows(tubelets, split.visible), 2, (grid.tubelet, -1)).mean(2)  # of one frame each
    place = split.visible % grid.space_patches
    sums = patches.new_zeros(len(patches), grid.space_patches, patches.shape[2])
    sums.scatter_add_(1, place.unsqueeze(2).expand_as(patches), patches)
    count = patches.new_zeros(len(patches), grid.space_patches).scatter_add_(
        1, place, torch.ones_like(place, dtype=patches.dtype)
    )
    fallback = visible_mean(tubelets, split, grid)[:, :1, : patches.shape[2]]
    mean = torch.where(count.unsqueeze(2) > 0, sums / count.clamp(min=1).unsqueeze(2), fallback)
    return rows(mean, split.masked % grid.space_patches).repeat(1, 1, grid.tubelet)


CONTROLS: dict[str, Callable[[Tensor, TokenSplit, Grid], Tensor]] = {
    "visible_mean": visible_mean,
    "same_place": same_place,
}


@torch.no_grad()
def token_errors(models: Mapping[str, MAE], video: Tensor, mask: Tensor) -> TokenErrors:
    """Errors of the reconstructions by `models` and `CONTROLS`, all of the same masked video.

    `mse_standardised` is the squared error of pixels standardised by the model's mean and deviation, `bce_pixels` the binary
    cross entropy of pixels on [0, 1]. Models with a normalised target also have `mse_normalised`, the squared error of that
    target (MAE-ST's own loss); their pixels are given the mean and the deviation of the true tubelet.

    Args:
        models: of one config, in eval mode.
        video: (B, 3, T, S, S), standardised.
        mask: (B, N) bool, True = masked, on the host.
    """
    first = next(iter(models.values()))
    config, grid = first.config, first.config.target_grid
    split = first.encoder.split_tokens(video, mask)
    tubelets = patchify(video[:, :, first.target_frames(video.device)], grid.tubelet, grid.patch)
    truth = rows(tubelets, split.masked)
    found = {name: _model_errors(model, video, split, truth) for name, model in models.items()}
    for name, control in CONTROLS.items():
        found[name] = _pixel_errors(control(tubelets, split, grid), truth, config)
    return TokenErrors(split.masked, found)


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
    errors: dict[str, list[Tensor]] = {}
    for index in data.batches(BATCH[data.device.type]):
        mask = masking(len(index), model.config.grid, generator)
        video = preprocess(data.even_windows(index, 0, 1), model.config)
        for name, found in token_errors({"model": model}, video, mask).by_name.items():
            errors.setdefault(name, []).append(found["mse_standardised"].mean((1, 2)))
    return {name: mean_ci95(torch.cat(parts).cpu()) for name, parts in errors.items()}


def rows(tokens: Tensor, index: Tensor) -> Tensor:
    """`tokens` (B, N, V) at the token numbers `index` (B, K) -> (B, K, V), by copies of whole tokens."""
    taken: Tensor = tokens[torch.arange(len(tokens), device=tokens.device).unsqueeze(1), index]
    return taken


def masked_pixels(model: MAE, prediction: Tensor, truth: Tensor) -> Tensor:
    """Standardised pixels of the masked tokens from the prediction of them; `truth` holds the true ones; all (B, M, V)."""
    config = model.config
    if config.target == "per_channel":  # its statistics are of pixels in [0, 1]
        mean, std = _per_colour(config.mean, truth), _per_colour(config.std, truth)
        return (to_pixels(prediction, truth * std + mean, config.target) - mean) / std
    return to_pixels(prediction, truth, config.target)


def _model_errors(model: MAE, video: Tensor, split: TokenSplit, truth: Tensor) -> Errors:
    config = model.config
    prediction = model(video, split).prediction.float()
    errors = _pixel_errors(masked_pixels(model, prediction, truth), truth, config)
    if config.target != "pixels":
        pixels = truth
        if config.target == "per_channel":
            pixels = truth * _per_colour(config.std, truth) + _per_colour(config.mean, truth)
        errors["mse_normalised"] = _per_frame((prediction - to_target(pixels, config.target)).square_(), config)
    return errors


def _pixel_errors(guess: Tensor, truth: Tensor, config: ModelConfig) -> Errors:
    mean, std = _per_colour(config.mean, truth), _per_colour(config.std, truth)
    squared = _per_frame((guess - truth).square_(), config)
    guessed, pixels = (guess * std).add_(mean).clamp_(_EPS, 1 - _EPS), (truth * std).add_(mean).clamp_(0, 1)
    likelihood = torch.lerp((-guessed).log1p_(), guessed.log_(), pixels)
    return {"mse_standardised": squared, "bce_pixels": -_per_frame(likelihood, config)}


def _per_frame(values: Tensor, config: ModelConfig) -> Tensor:
    """Means over the pixels of each frame of a tubelet, (B, M, V) -> (B, M, frames)."""
    return torch.unflatten(values, 2, (config.target_grid.tubelet, -1)).mean(3)


def _per_colour(values: tuple[float, float, float], like: Tensor) -> Tensor:
    """The three values for each pixel of a tubelet, (V,)."""
    return torch.cat([like.new_full((1,), value) for value in values]).repeat(like.shape[2] // 3)
