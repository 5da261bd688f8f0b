"""export-latents: one latent per clip from a trained encoder, by clip_id."""

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
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
from common.files import replacing, sweep_beside, write_json
from training import params
from training.clips import Clip, Clips
from training.engine.checkpoints import checkpoint_path
from training.engine.device import pick_device
from training.models import Encoder, load_encoder
from training.models.preprocess import preprocess

_CLIPS, _TOKENS = 32, 16_384  # at most in a batch; one clip of V-JEPA 2 has 8,192 tokens
_STRIDE = 4


def main(
    out: Path,
    *,
    model: str,
    weights: str,
    overrides: dict[str, Any],
    layer: int = -1,
    pool: Literal["mean", "tokens"] = "mean",
    stride: int | None = None,
    split: str | None = None,
) -> None:
    """Write latents to a `.parquet` file (clip_id, latent), or to an `.npy` file with the ids in a `.json` beside it.

    Windows begin at a clip's first tick; a clip that is shorter is repeated. Clips are resized to the model's size and
    standardised by its own mean and std.

    Args:
        out: ends in .parquet or .npy; an .npy has shape (clips, D), or (clips, N, D) with `pool` tokens.
        model: a named model.
        weights: path, URL or hub name of a checkpoint in any layout that `load_pretrained` knows.
        overrides: of fields of the model's config.
        layer: block whose output is taken, from 0; -1 is the last, with the encoder's final norm.
        pool: mean of the tokens (normalised where the weights have a norm for it), or all tokens.
        stride: ticks between frames; None: 4, or as many as fit the window into the longest clip.
        split: clips of this split only.

    Raises:
        ParamError: `out` has another suffix or does not suit `pool`, the model is impossible, or it has no such layer.
        WorkError: the weights do not fit, or there are no clips.
    """
    if out.suffix not in (".parquet", ".npy"):
        raise ParamError(f"-o {out}: must end in .parquet or .npy")
    if out.suffix == ".parquet" and pool == "tokens":
        raise ParamError(f"-o {out}: --tokens are written to an .npy file only")
    encoder = load_encoder(model, weights, **overrides).to(pick_device())
    config = encoder.config
    if not -1 <= layer < config.depth:
        raise ParamError(f"--layer {layer}: must be from -1 to {config.depth - 1}")
    clips = Clips()
    rows = clips.select(split=split)
    if not rows:
        raise WorkError(f"no clips in split {split!r}" if split else "no clips in manifests/shards.parquet")
    ids = [row.clip_id for row in rows]
    if stride is None:
        stride = max(1, min(_STRIDE, max(row.valid_frames for row in rows) // config.num_frames))
    for path in (out, out.with_suffix(".json")):
        sweep_beside(path)
    batches = _encode_clips(encoder, clips, rows, layer, pool, stride)
    if out.suffix == ".parquet":
        _write_parquet(out, ids, batches)
    else:
        _write_npy(out, ids, batches)
    values = f"{config.dim}" if pool == "mean" else f"{config.grid.tokens} x {config.dim}"
    print(f"{out}: {len(ids):,} clips, {values} values each")


def run(arguments: argparse.Namespace) -> None:
    """Call `main` with the arguments of the command line; without a model, the one that `pretrain` has trained.

    Raises:
        ParamError: a model without weights or weights without a model, an override that is not KEY=VALUE, or a bad stride.
    """
    if (arguments.model is None) != (arguments.weights is None):
        raise ParamError("--model and --weights go together")
    if arguments.stride is not None and arguments.stride < 1:
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


@torch.no_grad()
def _encode_clips(
    encoder: Encoder, clips: Clips, rows: Sequence[Clip], layer: int, pool: str, stride: int
) -> Iterator[NDArray[np.float32]]:
    """Latents of consecutive clips, a batch at a time: (B, D), or (B, N, D) if `pool` is tokens."""
    size = _batch_size(encoder)
    for first in tqdm(range(0, len(rows), size), desc="latents", unit="batch", disable=None):
        windows = [_window(clips, row, encoder.config.num_frames, stride) for row in rows[first : first + size]]
        video = preprocess(torch.from_numpy(np.stack(windows)).to(pick_device()), encoder.config)
        if layer == -1:
            tokens = encoder.encode(video)
            latents = encoder.pool(tokens) if pool == "mean" else tokens
        else:
            tokens = _block_output(encoder, video, layer)
            latents = tokens.mean(1) if pool == "mean" else tokens
        yield latents.float().cpu().numpy()


def _batch_size(encoder: Encoder) -> int:
    """Clips in a batch, so that memory is bounded by the number of tokens."""
    return max(1, min(_CLIPS, _TOKENS // encoder.config.grid.tokens))


def _window(clips: Clips, clip: Clip, frames: int, stride: int) -> NDArray[np.uint8]:
    ticks = np.arange(frames) * stride % clip.valid_frames
    return clips.frames(clip.clip_id)[ticks]


def _block_output(encoder: Encoder, video: Tensor, layer: int) -> Tensor:
    """Tokens (B, N, D) after a block, without a class token."""
    tokens = encoder.hidden_states(video)[layer + 1]
    return tokens if encoder.class_token is None else tokens[:, 1:]


def _write_parquet(path: Path, ids: Sequence[str], batches: Iterable[NDArray[np.float32]]) -> None:
    latents = np.concatenate(list(batches))
    column = pa.FixedSizeListArray.from_arrays(pa.array(latents.ravel()), latents.shape[1])
    with replacing(path) as temporary:
        pq.write_table(pa.table({"clip_id": list(ids), "latent": column}), temporary, compression="zstd")


def _write_npy(path: Path, ids: Sequence[str], batches: Iterator[NDArray[np.float32]]) -> None:
    """Write the latents, and the ids to a `.json` file beside them."""
    head = next(batches)
    with replacing(path) as temporary:
        # Mapped to disk: the token grids of a full dataset do not fit into memory.
        latents = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(ids), *head.shape[1:]))
        first = 0
        for batch in itertools.chain([head], batches):
            latents[first : first + len(batch)] = batch
            first += len(batch)
        latents.flush()
    write_json(path.with_suffix(".json"), {"clip_id": list(ids)})
