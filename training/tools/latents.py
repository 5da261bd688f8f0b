"""export-latents: what an encoder makes of every clip, by clip_id, for other people's classifiers, searches and plots."""

import argparse
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from common.errors import ParamError, WorkError
from common.files import replacing, write_json
from training import params
from training.clips import Clips
from training.engine.loop import Run, pick_device
from training.models import create_model, load_pretrained
from training.models.preprocess import standardise

_BATCH = 32


def main(
    out: Path,
    *,
    model: str,
    weights: str,
    overrides: dict[str, Any],
    layer: int = -1,
    pool: Literal["mean", "tokens"] = "mean",
    stride: int = 4,
    split: str | None = None,
) -> None:
    """Write one latent a clip: to a `.parquet` (clip_id, latent) or, for whole token grids too, to a `.npy` with ids beside it.

    Args:
        out: ends in .parquet or .npy; an .npy has shape (clips, D), or (clips, N, D) with `pool` tokens.
        model: the named model, with `overrides` of its config.
        weights: a checkpoint's path or URL, of any layout that `load_pretrained` knows.
        layer: which block's output, from 0; -1 is the last, normalised as the encoder's output is.
        stride: ticks between frames; windows begin at a clip's first tick and repeat a clip that is shorter.

    Raises:
        ParamError: `out` has another ending, or there is no such layer.
        WorkError: the weights do not fit, or there are no clips.
    """
    if out.suffix not in (".parquet", ".npy"):
        raise ParamError(f"-o {out}: must end in .parquet or .npy")
    if out.suffix == ".parquet" and pool == "tokens":
        raise ParamError(f"-o {out}: whole token grids go into an .npy file")
    network = load_pretrained(create_model(model, **overrides), weights, encoder_only=True).eval().to(pick_device())
    config = network.config
    if not -1 <= layer < config.depth:
        raise ParamError(f"--layer {layer}: must be from -1 to {config.depth - 1}")
    clips = Clips()
    rows = clips.select(split=split)
    if not rows:
        raise WorkError(f"no clips in split {split!r}" if split else "no clips in manifests/shards.parquet")
    shape = (len(rows), config.dim) if pool == "mean" else (len(rows), config.grid.tokens, config.dim)
    ids = [row.clip_id for row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out.with_suffix(".npy")) as temporary:
        # On disk from the start: a full dataset's token grids do not fit into memory.
        found = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for begin in tqdm(range(0, len(ids), _BATCH), desc="latents", unit="batch", disable=None):
            windows = [
                _window(clips, row.clip_id, row.valid_frames, config.num_frames, stride)
                for row in rows[begin : begin + _BATCH]
            ]
            video = _prepare(torch.from_numpy(np.stack(windows)), network)
            found[begin : begin + _BATCH] = _encode(network, video, layer, pool).cpu().numpy()
        found.flush()
    if out.suffix == ".npy":
        write_json(out.with_suffix(".json"), {"clip_id": ids})
    else:
        values = np.load(out.with_suffix(".npy"))
        table = pa.table(
            {"clip_id": ids, "latent": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), config.dim)}
        )
        with replacing(out) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        out.with_suffix(".npy").unlink()
    print(f"{out}: {len(ids):,} clips, {' x '.join(map(str, shape[1:]))} values each")


def run(arguments: argparse.Namespace) -> None:
    """`main` with what the command line says.

    Raises:
        ParamError: a model without weights, or an override that is no KEY=VALUE.
    """
    if (arguments.model is None) != (arguments.weights is None):
        raise ParamError("--model and --weights go together")
    settings = params.load().pretrain
    overrides = {} if arguments.model else dict(settings.overrides)
    for item in arguments.set:
        name, equals, value = item.partition("=")
        if not equals:
            raise ParamError(f"--set {item}: must be KEY=VALUE")
        overrides[name] = yaml.safe_load(value)
    if arguments.stride < 1:
        raise ParamError(f"--stride {arguments.stride}: must be at least 1")
    main(
        arguments.out,
        model=arguments.model or settings.model,
        weights=arguments.weights or str(Run("pretrain", "", 0).path),
        overrides=overrides,
        layer=arguments.layer,
        pool="tokens" if arguments.tokens else "mean",
        stride=arguments.stride,
        split=arguments.split,
    )


def _window(clips: Clips, clip_id: str, valid: int, frames: int, stride: int) -> NDArray[np.uint8]:
    ticks = np.arange(frames) * stride % valid
    return clips.frames(clip_id)[ticks]


def _prepare(window: Tensor, network: Any) -> Tensor:
    """(B, T, H, W, 3) uint8 -> standardised, at the model's size."""
    config = network.config
    video = window.to(next(network.parameters()).device).permute(0, 4, 1, 2, 3).float() / 255
    if video.shape[-1] != config.image_size:
        size = (config.num_frames, config.image_size, config.image_size)
        video = torch.nn.functional.interpolate(video, size=size, mode="trilinear", align_corners=False)
    return standardise(video, config.mean, config.std)


@torch.no_grad()
def _encode(network: Any, video: Tensor, layer: int, pool: str) -> Tensor:
    encoder = network.encoder
    if layer == -1:
        tokens = encoder(video)[0]
    else:
        tokens = encoder.layers(video)[layer + 1]
        tokens = tokens[:, 1:] if encoder.class_token is not None else tokens
    latent: Tensor = tokens.mean(1) if pool == "mean" else tokens
    return latent.float()
