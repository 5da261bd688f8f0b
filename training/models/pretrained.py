"""Weights to and from files: any supported layout is recognised, and every key must match."""

import json
import math
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.errors import WorkError
from common.files import replacing, write_json
from training.models import hub, layouts
from training.models.classifier import Classifier
from training.models.config import ModelConfig
from training.models.encoder import Encoder
from training.models.mae import MAE
from training.models.positions import FixedPositions, interpolate_positions
from training.models.tubelets import Grid

FORMAT = "spatiotemporal-meta/2"
_PUBLISHED_FRAMES, _PUBLISHED_SIZE = 16, 224  # of all published weights of VideoMAE and VideoMAE V2
_ERROR_NUMBER = re.compile(r"\(os error (\d+)\)")  # in a message of safetensors
_SHARD_INDEX = "model.safetensors.index.json"
Model = TypeVar("Model", bound=nn.Module)


def export_pretrained(model: MAE | Classifier, path: Path | str, layout: Literal["own", "huggingface"] = "own") -> None:
    """Write weights and config of `model` to `path`, atomically; `load_pretrained` reads them.

    With `huggingface`, `path` is a folder with `config.json` and `model.safetensors`, for
    `transformers.VideoMAEForPreTraining.from_pretrained` (or `...ForVideoClassification`).

    Raises:
        ValueError: `transformers`' VideoMAE has no equivalent of the model.
        OSError: the disk is full.
    """
    if layout == "own":
        content = {"format": FORMAT, "config": asdict(model.config), "model": model.state_dict()}
        write_checkpoint(content, Path(path))
        return
    state = layouts.to_huggingface(model.state_dict(), model.config)
    file = Path(path) / "model.safetensors"
    try:
        with replacing(file) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
    except SafetensorError as error:
        number = _ERROR_NUMBER.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(file)) from None
    write_json(Path(path) / "config.json", layouts.huggingface_config(model.config))


def load_pretrained(model: Model, path: Path | str, *, encoder_only: bool = False, sha256: str | None = None) -> Model:
    """Load weights into `model` and return it.

    The layout (see `layouts`) is recognised by its keys. Positions for another grid than the model's, learned ones and
    VideoMAE's fixed ones, are interpolated: bicubic in space, linear in time. Rotary ones fit any grid as they are.

    Args:
        model: `MAE`, `Classifier`, `Encoder`, or any module for a checkpoint of its own.
        path: a file, a folder written by `transformers`, a URL, or a name on the Hugging Face hub as OWNER/NAME; what is not
            here is downloaded once (see `remote`).
        encoder_only: load `model.encoder` alone; a decoder or head in the file is ignored.
        sha256: hex digest that the file must have.

    Raises:
        WorkError: the file is missing, damaged, of an unknown layout or another digest; or a key is missing, unexpected, or
            of another shape, in which case every such key is named.
    """
    _load(model, _open(path, sha256), str(path), encoder_only=encoder_only)
    return model


def read_encoder(config: ModelConfig, path: Path | str, *, sha256: str | None = None) -> Encoder:
    """The encoder of `config` with the weights in `path`, as `load_pretrained(..., encoder_only=True)` loads them.

    Its norm is where the weights have it: a fine-tuned or distilled VideoMAE normalises the mean of the tokens (`Encoder.pool`),
    a pre-trained one every token.

    Raises:
        WorkError: as `load_pretrained`.
    """
    checkpoint = _open(path, sha256)
    if "norm.weight" in checkpoint.state and "encoder.norm.weight" not in checkpoint.state:
        config = replace(config, final_norm=False, pooled_norm=config.pooling == "mean")
    encoder = Encoder(config)
    _load(encoder, checkpoint, str(path))
    return encoder


class _Checkpoint(NamedTuple):
    """The weights in a file, by our keys."""

    state: dict[str, Tensor]
    layout: layouts.Layout
    saved: ModelConfig | None
    file: Path


def _open(path: Path | str, sha256: str | None) -> _Checkpoint:
    file = hub.local_path(str(path), sha256)
    content = _read(file)
    saved: ModelConfig | None = None
    layout: layouts.Layout | None = "own"
    if content.get("format") == FORMAT:
        state, saved = _weights(content), _saved_config(content, path)
    else:
        state = layouts.extract_state_dict(content)
        layout = layouts.detect(state)
    if layout is None or not state:
        keys = ", ".join(map(str, list(state or content)[:5]))
        raise WorkError(f"{path} has a layout that is not supported: its keys are {keys}")
    return _Checkpoint(layouts.to_own(state, layout), layout, saved, file)


def _load(model: nn.Module, checkpoint: _Checkpoint, source: str, *, encoder_only: bool = False) -> None:
    state, grid = dict(checkpoint.state), None
    if isinstance(model, MAE) and not encoder_only and not any(key.startswith("decoder.") for key in state):
        raise WorkError(f"{source} has an encoder and no decoder: a masked autoencoder needs both")
    if isinstance(model, MAE | Classifier | Encoder):
        grid = _pretrained_grid(model.config, checkpoint)
        _interpolate_learned(state, grid, (model.config.grid.time_patches, model.config.grid.side))
    if encoder_only or isinstance(model, Encoder):
        encoder = model if isinstance(model, Encoder) else model.get_submodule("encoder")
        load_strict(encoder, _encoder_state(encoder, state, checkpoint.layout), source)
    else:
        load_strict(model, state, source)
    if isinstance(model, MAE | Classifier | Encoder) and grid is not None:
        _set_pretrained_grid(model, grid)


def _encoder_state(encoder: nn.Module, state: Mapping[str, Tensor], layout: layouts.Layout) -> dict[str, Tensor]:
    """The weights of `encoder` alone; of a published layout also keys that belong to nothing, which are then unexpected."""
    own = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    if isinstance(encoder.get_submodule("norm"), nn.Identity):  # a classifier normalises the pooled token instead
        own = {key: value for key, value in own.items() if not key.startswith("norm.")}
    if getattr(encoder, "pooled_norm", None) is not None:
        own |= {f"pooled_{key}": value for key, value in state.items() if key.startswith("norm.")}
    if layout != "own":
        parts = ("encoder.", "decoder.", "norm.", "head.")
        own |= {key: value for key, value in state.items() if not key.startswith(parts)}
    return own


def load_strict(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load `state` into `model`.

    Raises:
        WorkError: keys or shapes differ, or values are not finite; `source` is named, and every such key.
    """
    own = model.state_dict()
    errors = [f"missing {key}" for key in own if key not in state]
    errors += [f"unexpected {key}" for key in state if key not in own]
    for key, value in state.items():
        if key in own and value.shape != own[key].shape:
            errors.append(f"{key} is {tuple(value.shape)}, the model has {tuple(own[key].shape)}")
        if not value.isfinite().all():
            errors.append(f"{key} has NaN or infinite values")
    if errors:
        raise WorkError(f"{source} does not fit the model: {'; '.join(errors)}")
    model.load_state_dict(state)


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write tensors and plain values to `path` by `torch.save`, atomically.

    Raises:
        OSError: the disk is full.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except (RuntimeError, OSError) as error:
        reason = error.__context__ if isinstance(error, RuntimeError) else error  # torch hides it
        if isinstance(reason, OSError):
            raise OSError(reason.errno, reason.strerror, str(path)) from None
        raise


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file written by `torch.save`: tensors and plain values only, code in it is never run.

    Raises:
        WorkError: the file is missing, damaged, or has anything else in it.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WorkError(f"{path} is not here: run the stage that writes it") from None
    except pickle.UnpicklingError:
        raise WorkError(
            f"{path} is not a checkpoint of plain tensors and values: other content is not loaded"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WorkError(f"{path} is damaged: {reason}") from None
    if not isinstance(content, dict):
        raise WorkError(f"{path} is a {type(content).__name__}: a checkpoint must be a dict")
    return content


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint file of any kind, or the one in a folder written by `transformers`."""
    if (path / _SHARD_INDEX).exists():
        return _read_shards(path)
    if path.is_dir():
        found = [path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).exists()]
        if not found:
            raise WorkError(f"{path} has neither model.safetensors nor pytorch_model.bin")
        path = found[0]
    if path.suffix != ".safetensors":
        return read_checkpoint(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WorkError(f"{path} is damaged: {error}") from None


def _read_shards(folder: Path) -> dict[str, Any]:
    """Read weights that are split into several safetensors files, which an index beside them lists."""
    try:
        names = sorted(set(json.loads((folder / _SHARD_INDEX).read_text())["weight_map"].values()))
        inside = all(Path(name).name == name and name.endswith(".safetensors") for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkError(f"{folder / _SHARD_INDEX} is damaged: {error!r}") from None
    if not inside:
        raise WorkError(f"{folder / _SHARD_INDEX} lists files that are not safetensors files of its folder")
    content: dict[str, Any] = {}
    for name in names:
        content |= _read(folder / name)
    return content


def _interpolate_learned(state: dict[str, Tensor], old: tuple[int, int], new: tuple[int, int]) -> None:
    """Interpolate the learned positions in `state` that are of the grid `old`, (time patches, side), to the grid `new`."""
    for part in ("encoder", "decoder"):
        for name, before, after in (
            ("space", (1, old[1]), (1, new[1])),
            ("time", (old[0], 1), (new[0], 1)),
            ("table", old, new),
        ):
            table = state.get(f"{part}.positions.{name}")
            # A table of another shape stays as it is: loading names it.
            if table is not None and table.dim() == 2 and len(table) == before[0] * before[1] ** 2:
                state[f"{part}.positions.{name}"] = interpolate_positions(table.float(), before, after)


def _set_pretrained_grid(model: MAE | Classifier | Encoder, grid: tuple[int, int]) -> None:
    """Make the fixed positions of `model` those of weights that were trained on `grid`, and note it in its config."""
    fixed = [module for module in model.modules() if isinstance(module, FixedPositions)]
    own = (model.config.grid.time_patches, model.config.grid.side)
    pretrained = None if grid == own else grid
    if fixed and model.config.pretrained_grid != pretrained:
        for module in fixed:
            module.set_pretrained_grid(pretrained)
        for part in model.modules():
            if isinstance(part, MAE | Classifier | Encoder):
                part.config = replace(part.config, pretrained_grid=pretrained)


def _pretrained_grid(config: ModelConfig, checkpoint: _Checkpoint) -> tuple[int, int]:
    """(time patches, side) of the grid on which the weights were trained; the model's own if nothing in the file gives it."""
    state, layout, saved, file = checkpoint
    space, time = (state.get(f"encoder.positions.{name}") for name in ("space", "time"))
    if space is not None and time is not None and space.dim() == time.dim() == 2 and space.numel() and time.numel():
        return len(time), math.isqrt(len(space))
    if saved is not None:
        return saved.pretrained_grid or (saved.grid.time_patches, saved.grid.side)
    if layout in ("videomae", "huggingface") and (file / "config.json").exists():
        return _huggingface_grid(file / "config.json")
    if layout in ("videomae", "huggingface"):
        return _PUBLISHED_FRAMES // config.tubelet, _PUBLISHED_SIZE // config.patch
    return config.grid.time_patches, config.grid.side


def _huggingface_grid(path: Path) -> tuple[int, int]:
    try:
        saved = json.loads(path.read_text())
        saved = saved.get("model_config", saved)  # VideoMAE V2 nests the sizes, and has img_size
        size = saved["img_size"] if "img_size" in saved else saved["image_size"]
        grid = Grid(saved["num_frames"], size, saved["tubelet_size"], saved["patch_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkError(f"{path} is not a config of transformers' VideoMAE: {error!r}") from None
    return grid.time_patches, grid.side


def _weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in a file of our own, empty if there are none."""
    weights = content.get("model")
    if not isinstance(weights, Mapping):
        return {}
    return {str(key): value for key, value in weights.items() if isinstance(value, Tensor)}


def _saved_config(content: Mapping[str, Any], path: Path | str) -> ModelConfig | None:
    """The config beside the weights in a file of our own; None in checkpoints of training runs."""
    if "config" not in content:
        return None
    try:
        return ModelConfig(**content["config"])
    except (TypeError, ValueError) as error:
        raise WorkError(f"{path} has an invalid config: {error}") from None
