"""Errors of reconstructions over whole clips: by tick, and over all ticks, with intervals over clips."""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from training.data.windows import ClipWindows
from training.engine.reconstruction import BATCH, CONTROLS, token_errors
from training.engine.statistics import mean_ci95
from training.engine.tiling import tile_starts
from training.models import MAE
from training.models.masking import Masking
from training.models.preprocess import preprocess

EVERY_TICKS = 20  # the paper reports every 20th frame

Fields = dict[str, object]
"""Of metrics/stage1.json: per loss the mean over clips, half of its 95% interval, and both at every 20th tick."""


class ClipErrors:
    """Mean errors of each tick of each clip, (clips, ticks), by reconstruction and loss.

    A tick's error is the mean over its masked pixels, and over the windows that show it; a clip's error is the mean over its
    ticks. Padding counts for nothing.

    Args:
        valid: ticks of each clip that are not padding, (clips,).
        ticks: of a clip.
    """

    def __init__(self, valid: Tensor, ticks: int) -> None:
        self._valid, self._ticks = valid, ticks
        self._sums: dict[str, dict[str, Tensor]] = {}
        self._counts: dict[str, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._valid)

    def add(self, name: str, loss: str, clips: Tensor, ticks: Tensor, errors: Tensor) -> None:
        """Add windows of the clips at positions `clips` (B,), which show `ticks` (B, T); `errors` (B, T), NaN for none."""
        shape = (len(self), self._ticks)
        sums = self._sums.setdefault(name, {}).setdefault(loss, torch.zeros(shape, dtype=torch.float64))
        counts = self._counts.setdefault(name, {}).setdefault(loss, torch.zeros(shape, dtype=torch.float64))
        index = clips.unsqueeze(1).expand_as(ticks), ticks
        counted = (ticks < self._valid[clips].unsqueeze(1)) & ~errors.isnan()
        sums.index_put_(index, errors.double().where(counted, 0.0), accumulate=True)
        counts.index_put_(index, counted.double(), accumulate=True)

    def by_tick(self, name: str, loss: str) -> Tensor:
        """(clips, ticks), NaN where no window shows the tick."""
        return self._sums[name][loss] / self._counts[name][loss]

    def by_clip(self, name: str, loss: str) -> Tensor:
        """(clips,)"""
        return self.by_tick(name, loss).nanmean(1)

    def fields(self, name: str) -> Fields:
        """The means of a reconstruction as metrics/stage1.json holds them."""
        result: Fields = {"clips": len(self)}
        for loss in self._sums[name]:
            result[loss], result[f"{loss}_ci95"] = _mean_ci95(self.by_clip(name, loss))
            columns = self.by_tick(name, loss)[:, EVERY_TICKS - 1 :: EVERY_TICKS]
            by_tick = {}
            for number, column in enumerate(columns.T, 1):
                shown = int((~column.isnan()).sum())
                if shown:
                    mean, ci95 = _mean_ci95(column)
                    by_tick[str(number * EVERY_TICKS)] = {"mean": mean, "ci95": ci95, "clips": shown}
            result[f"{loss}_by_tick"] = by_tick
        return result

    def means(self, loss: str) -> dict[str, tuple[float, float]]:
        """The mean over clips of each reconstruction's error, and half of its 95% interval."""
        return {name: _mean_ci95(self.by_clip(name, loss)) for name, losses in self._sums.items() if loss in losses}

    def difference(self, name: str, less: str) -> dict[str, tuple[float, float]]:
        """Per loss the mean over clips of the error of `name` less that of `less`, and half of its 95% interval."""
        losses = [loss for loss in self._sums[name] if loss in self._sums[less]]
        return {loss: _mean_ci95(self.by_clip(name, loss) - self.by_clip(less, loss)) for loss in losses}


def measure(
    models: Mapping[str, MAE], data: ClipWindows, index: Tensor, ticks: int, masking: Masking, seed: int
) -> ClipErrors:
    """Errors over all ticks of clips, of the reconstructions by `models` and `CONTROLS`, all of the same windows and masks.

    Windows tile each clip (see `tile_starts`). Of a model with `target_frames` only those frames of a window count.

    Args:
        models: of one config, in eval mode.
        data: the clips.
        index: positions of those that are measured, (clips,).
        ticks: of a clip, padding included.
        masking: of the windows.
        seed: of the masks.
    """
    first = next(iter(models.values()))
    grid, shown = first.config.target_grid, first.target_frames()
    valid = torch.tensor([data.rows[position].valid_frames for position in index.tolist()])
    errors = ClipErrors(valid, ticks)
    generator = Generator().manual_seed(seed)
    batches = tiled_windows(data.stride, valid, shown, ticks).split(BATCH[data.device.type])
    for batch in tqdm(batches, "measure", unit="batch", disable=None):
        clips, starts = batch.unbind(1)
        mask = masking(len(clips), first.config.grid, generator)
        video = preprocess(data.windows(index[clips], starts), first.config)
        found = token_errors(models, video, mask)
        time = found.masked.cpu() // grid.space_patches
        seen = starts.unsqueeze(1) + data.stride * shown
        for name, losses in found.by_name.items():
            for loss, values in losses.items():
                errors.add(name, loss, clips, seen, _mean_per_frame(values.cpu(), time, grid.time_patches))
    return errors


def results(errors: ClipErrors) -> dict[str, object]:
    """The contents of metrics/stage1.json, of errors of the models `fine_tuned` and `baseline`."""
    paired = errors.difference("baseline", "fine_tuned")
    return {
        "fine_tuned": errors.fields("fine_tuned"),
        "baseline": errors.fields("baseline"),
        "controls": {name: errors.fields(name) for name in CONTROLS},
        "paired": {loss: {"mean": mean, "ci95": ci95} for loss, (mean, ci95) in paired.items()},
    }


def tiled_windows(stride: int, valid: Tensor, shown: Tensor, ticks: int) -> Tensor:
    """Windows that tile clips of `valid` (K,) ticks: (W, 2), the clip's number and the first tick of each."""
    starts = {count: tile_starts(shown.tolist(), stride, count, ticks) for count in set(valid.tolist())}
    return torch.tensor([(clip, start) for clip, count in enumerate(valid.tolist()) for start in starts[count]])


def even_clips(data: ClipWindows, number: int | None) -> Tensor:
    """Positions of `number` clips evenly spread over the data, or of all: (K,)."""
    if number is None or number >= len(data):
        return torch.arange(len(data))
    return (2 * torch.arange(number) + 1) * len(data) // (2 * number)


def _mean_per_frame(errors: Tensor, time: Tensor, times: int) -> Tensor:
    """Errors (B, M, frames of a tubelet) of tokens of the time patches `time` (B, M): means (B, T), NaN for frames without."""
    sums = errors.new_zeros(len(errors), times, errors.shape[2])
    sums.scatter_add_(1, time.unsqueeze(2).expand_as(errors), errors)
    count = errors.new_zeros(len(errors), times).scatter_add_(1, time, torch.ones_like(time, dtype=errors.dtype))
    return (sums / count.unsqueeze(2)).flatten(1)


def _mean_ci95(values: Tensor) -> tuple[float, float]:
    """Of the values that are not NaN; an interval that is not finite becomes null in JSON."""
    return mean_ci95(values[~values.isnan()])
