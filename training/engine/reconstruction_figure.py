"""Figure 3 of the paper: every 20th frame of some clips, as it is, as the encoder sees it, and as models reconstruct it."""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from training.data.windows import ClipWindows
from training.engine.clip_errors import EVERY_TICKS, even_clips
from training.engine.figures import Panel, Pixels, draw_panels
from training.engine.tiling import tile_starts
from training.models import MAE, ModelConfig
from training.models.masking import Masking
from training.models.preprocess import preprocess, unstandardise
from training.models.tubelets import upsample_mask

_CLIPS = 4


@torch.no_grad()
def draw_reconstructions(
    models: Mapping[str, MAE], data: ClipWindows, ticks: int, masking: Masking, seed: int
) -> Pixels:
    """A panel for each of four clips; rows: original, masked, and the reconstructions of the models by name.

    Each frame is of one of the windows that tile the clip. Masked pixels are grey in the second row; a tick after a clip's
    end is blank.

    Args:
        models: of one config, in eval mode.
        data: the clips.
        ticks: of a clip, padding included.
        masking: of the windows.
        seed: of the masks.
    """
    config = next(iter(models.values())).config
    generator = Generator().manual_seed(seed)
    wanted = range(EVERY_TICKS, ticks + 1, EVERY_TICKS)
    panels = []
    for position in even_clips(data, _CLIPS).tolist():
        clip = data.rows[position]
        frames = _reconstruct(models, data, position, list(wanted), ticks, masking, generator)
        columns = [f"tick {tick}" for tick in wanted]
        panels.append(Panel(f"{clip.source}: {clip.class_name}", columns, frames))
    return draw_panels(panels, config.image_size)


def _reconstruct(
    models: Mapping[str, MAE],
    data: ClipWindows,
    position: int,
    wanted: list[int],
    ticks: int,
    masking: Masking,
    generator: Generator,
) -> dict[str, list[Pixels | None]]:
    """The rows of a clip's panel: a frame for each tick of `wanted`, counted from 1, or None."""
    first = next(iter(models.values()))
    config, shown = first.config, first.target_frames().tolist()
    places: dict[int, tuple[int, int]] = {}  # by tick: the window's start, and the frame among those shown
    for start in tile_starts(shown, data.stride, data.rows[position].valid_frames, ticks):
        for number, frame in enumerate(shown):
            places.setdefault(start + frame * data.stride + 1, (start, number))
    found = [tick for tick in wanted if tick in places and tick <= data.rows[position].valid_frames]
    names = ("original", "masked", *models)
    if not found:
        return {name.replace("_", "-"): [None] * len(wanted) for name in names}
    starts = torch.tensor([places[tick][0] for tick in found])
    video = preprocess(data.windows(torch.full_like(starts, position), starts), config)
    mask = masking(len(found), config.grid, generator)
    original = video[:, :, first.target_frames(video.device)]
    hidden = upsample_mask(mask.to(video.device), config.target_grid)
    videos = {"original": original, "masked": original.masked_fill(hidden, 0.0)}
    videos |= {name: model.reconstruct(video, mask) for name, model in models.items()}
    numbers = [places[tick][1] for tick in found]
    rows: dict[str, list[Pixels | None]] = {}
    for name in names:
        pixels = _to_pixels(
            torch.stack([clip[:, number] for clip, number in zip(videos[name], numbers, strict=True)]), config
        )
        by_tick = dict(zip(found, pixels, strict=True))
        rows[name.replace("_", "-")] = [by_tick.get(tick) for tick in wanted]
    return rows


def _to_pixels(frames: Tensor, config: ModelConfig) -> list[Pixels]:
    """Standardised frames (B, 3, S, S) as RGB arrays."""
    values = unstandardise(frames.unsqueeze(2), config.mean, config.std)[:, :, 0].clamp(0, 1)
    return list(values.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy())
