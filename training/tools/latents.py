"""export-latents: one latent per clip from a trained encoder, by clip_id."""

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
from training.clips import Clip, Clips
from training.engine.checkpoints import checkpoint_path
from training.engine.device import pick_device
from training.models import MAE, Classifier, create_model, load_pretrained
from training.models.preprocess import preprocess

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
    """Write latents to a `.parquet` file (clip_id, latent), or to an `.npy` file with the ids in a `.json` beside it.

    Windows begin at a clip's first tick; a clip that is shorter is repeated.

    Args:
        out: ends in .parquet or .npy; an .npy has shape (clips, D), or (clips, N, D) with `pool` tokens.
        model: a named model.
        weights: path or URL of a checkpoint in any layout that `load_pretrained` knows.
        overrides: of fields of the model's config.
        layer: block whose output is taken, from 0; -1 is the last, with the encoder's final norm.
        pool: mean of the tokens, or all tokens.
        stride: ticks between frames.
        split: clips of this split only.

    Raises:
        ParamError: `out` has another suffix or does not suit `pool`, the model is impossible, or it has no such layer.
        WorkError: the weights do not fit, or there are no clips.
    """
    if out.suffix not in (".parquet", ".npy"):
        raise ParamError(f"-o {out}: must end in .parquet or .npy")
    if out.suffix == ".parquet" and pool == "tokens":
        raise ParamError(f"-o {out}: --tokens are written to an .npy file only")
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
    with replacing(out) as temporary:
        array = temporary.with_suffix(".npy")
        # Mapped to disk: the token grids of a full dataset do not fit into memory.
        latents = np.lib.format.open_memmap(array, mode="w+", dtype=np.float32, shape=shape)
        for first in tqdm(range(0, len(rows), _BATCH), desc="latents", unit="batch", disable=None):
            batch = rows[first : first + _BATCH]
            frames = torch.from_numpy(np.stack([_window(clips, row, config.num_frames, stride) for row in batch]))
            video = preprocess(frames.to(pick_device()), config)
            latents[first : first + _BATCH] = _encode(network, video, layer, pool).cpu().numpy()
        latents.flush()
        if out.suffix == ".parquet":
            _write_parquet(temporary, ids, latents)
            array.unlink()
    if out.suffix == ".npy":
        write_json(out.with_suffix(".json"), {"clip_id": ids})
    print(f"{out}: {len(ids):,} clips, {' x '.join(map(str, shape[1:]))} values each")


def run(arguments: argparse.Namespace) -> None:
    """Call `main` with the arguments of the command line; without a model, the one that `pretrain` has trained.

    Raises:
        ParamError: a model without weights or weights without a model, an override that is not KEY=VALUE, or a bad stride.
    """
    if (arguments.model is None) != (arguments.weights is None):
        raise ParamError("--model and --weights go together")
    if arguments.stride < 1:
        raise ParamError(f"--stride {arguments.stride}: must be at least 1")
    settings = params.load().pretrain
    model, weights, overrides = arguments.model, arguments.weights, {}
    if model is None:
        model, weights = settings.model, str(checkpoint_path("pretrain"))
        overrides = {"image_size": Clips().size} | settings.overrides
    for item in arguments.set:
        name, equals, value = item.partition("=")
        try:
            overrides[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals:
            raise ParamError(f"--set {item}: must be KEY=VALUE, the value in YAML")
    main(
        arguments.out,
        model=model,
        weights=weights,
        overrides=overrides,
        layer=arguments.layer,
        pool="tokens" if arguments.tokens else "mean",
        stride=arguments.stride,
        split=arguments.split,
    )


def _window(clips: Clips, clip: Clip, frames: int, stride: int) -> NDArray[np.uint8]:
    ticks = np.arange(frames) * stride % clip.valid_frames
    return clips.frames(clip.clip_id)[ticks]


@torch.no_grad()
def _encode(network: MAE | Classifier, video: Tensor, layer: int, pool: str) -> Tensor:
    """Video (B, 3, T, S, S) -> (B, D), or (B, N, D) if `pool` is tokens."""
    encoder = network.encoder
    if layer == -1:
        tokens = network.encode(video)
    else:
        tokens = encoder.hidden_states(video)[layer + 1]
        tokens = tokens[:, 1:] if encoder.class_token is not None else tokens
    return (tokens.mean(1) if pool == "mean" else tokens).float()


def _write_parquet(path: Path, ids: list[str], latents: NDArray[np.float32]) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(latents.ravel()), latents.shape[1])
    pq.write_table(pa.table({"clip_id": ids, "latent": column}), path, compression="zstd")
