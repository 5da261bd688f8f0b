"""Weights in and out of files: tolerant of layout, strict about keys."""

import pickle
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from common.errors import WorkError
from common.files import replacing, write_json
from training.models import layouts, remote
from training.models.config import ModelConfig
from training.models.positions import positions, stretch

FORMAT = "spatiotemporal-meta/1"
Model = TypeVar("Model", bound=nn.Module)


def export_pretrained(model: nn.Module, path: Path | str, layout: Literal["own", "huggingface"] = "own") -> None:
    """Write weights and config of `model` to `path`, atomically; `load_pretrained` reads it.

    `huggingface` makes `path` a folder with `config.json` and `model.safetensors`, which
    `transformers.VideoMAEForPreTraining.from_pretrained` (or `...ForVideoClassification`) loads.

    Raises:
        ValueError: the model is not one that `transformers`' VideoMAE can be.
    """
    config: ModelConfig = model.config  # type: ignore[assignment]
    if layout == "own":
        content = {"format": FORMAT, "config": asdict(config), "model": model.state_dict()}
        with replacing(Path(path)) as temporary:
            torch.save(content, temporary)
        return
    from safetensors.torch import save_file

    state = layouts.to_huggingface(model.state_dict(), config)
    with replacing(Path(path) / "model.safetensors") as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    write_json(Path(path) / "config.json", _huggingface_config(config))


def load_pretrained(model: Model, path: Path | str, *, encoder_only: bool = False, sha256: str | None = None) -> Model:
    """Load the weights at `path`, a file, a folder of `transformers` or a URL, into `model` and return it.

    The layout (ours, MAE-ST's, VideoMAE's, Hugging Face's) is found out. Learned positions of another grid are stretched
    to the model's, bicubic in space and linear in time; so are VideoMAE's fixed ones. With `encoder_only` just
    `model.encoder` is filled; a decoder or head in the file, or in the model, is left alone.

    Raises:
        WorkError: the file cannot be had or is no checkpoint, or a key is missing, unexpected, or of another shape; every
            such key is named.
    """
    file = remote.local(str(path), sha256)
    content = _read(file)
    ours = content.get("format") == FORMAT
    state = content["model"] if ours else layouts.unwrap(content)
    layout = "own" if ours else layouts.detect(state)
    if layout is None:
        keys = ", ".join(map(str, list(state or content)[:5]))
        raise WorkError(f"{path} has a layout that is not known here: it has keys {keys}")
    state = layouts.to_own(state, layout)
    if isinstance(getattr(model, "config", None), ModelConfig):
        _match_grids(model, state, content.get("config") if ours else None, layout)
    if encoder_only:
        state = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
        encoder = model.get_submodule("encoder")
        if isinstance(encoder.get_submodule("norm"), nn.Identity):  # a classifier normalises what it has pooled
            state = {key: value for key, value in state.items() if not key.startswith("norm.")}
        fill(encoder, state, str(path))
    else:
        fill(model, state, str(path))
    return model


def fill(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy `state` into `model`, whose keys and shapes must be the same; `origin` names the file in the error."""
    own = model.state_dict()
    complaints = [f"missing {key}" for key in own if key not in state]
    complaints += [f"unexpected {key}" for key in state if key not in own]
    complaints += [
        f"{key} is {tuple(state[key].shape)} where the model has {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    complaints += [
        f"{key} holds values that are no numbers" for key, value in state.items() if not value.isfinite().all()
    ]
    if complaints:
        raise WorkError(f"{origin} does not fit the model: {'; '.join(complaints)}")
    model.load_state_dict(state)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A file that `torch.save` wrote, as plain tensors and values; code in it is never run.

    Raises:
        WorkError: the file is missing, damaged, or holds more than plain tensors and values.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WorkError(f"{path} is not here: run the stage that writes it") from None
    except pickle.UnpicklingError:
        raise WorkError(f"{path} is refused: it is no checkpoint, or holds code instead of plain tensors") from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WorkError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise WorkError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    return content


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint file of any kind, or the one in a folder of `transformers`."""
    if path.is_dir():
        found = [path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).exists()]
        if not found:
            raise WorkError(f"{path} holds neither model.safetensors nor pytorch_model.bin")
        path = found[0]
    if path.suffix != ".safetensors":
        return read_checkpoint(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WorkError(f"{path} is damaged: {error}") from None


def _match_grids(
    model: nn.Module, state: dict[str, Tensor], saved: Mapping[str, Any] | None, layout: layouts.Layout
) -> None:
    """Stretch positions in `state` to the model's grid; tell the model where its fixed ones were trained."""
    config: ModelConfig = model.config  # type: ignore[assignment]
    new = (config.grid.times, config.grid.side)
    old = _trained_grid(state, saved, config, layout)
    for part in ("encoder", "decoder"):
        space, time, table = (f"{part}.positions.{name}" for name in ("space", "time", "table"))
        if space in state and len(state[space]) == old[1] ** 2:
            state[space] = stretch(state[space], (1, old[1]), (1, new[1]))
        if time in state and len(state[time]) == old[0]:
            state[time] = stretch(state[time], (old[0], 1), (new[0], 1))
        if table in state and len(state[table]) == old[0] * old[1] ** 2:
            state[table] = stretch(state[table], old, new)
    if config.pretrained_grid != old and old != new and "sincos" in config.positions:
        model.config = replace(config, pretrained_grid=old)  # type: ignore[assignment]
        for name, kind, dim in (
            ("encoder", config.positions, config.dim),
            ("decoder", config.decoder_positions, config.decoder_dim),
        ):
            if hasattr(model, name) and kind.startswith("sincos"):
                device = next(model.parameters()).device
                model.get_submodule(name).positions = positions(kind, config.grid, dim, old).to(device)


def _trained_grid(
    state: Mapping[str, Tensor], saved: Mapping[str, Any] | None, config: ModelConfig, layout: layouts.Layout
) -> tuple[int, int]:
    """Moments and side of the grid that the weights were trained on, as far as the file tells."""
    if "encoder.positions.space" in state and "encoder.positions.time" in state:
        return len(state["encoder.positions.time"]), round(len(state["encoder.positions.space"]) ** 0.5)
    if saved is not None:
        if saved.get("pretrained_grid"):
            times, side = saved["pretrained_grid"]
            return int(times), int(side)
        return saved["num_frames"] // saved["tubelet"], saved["image_size"] // saved["patch"]
    if layout in ("videomae", "huggingface"):  # all that are published: 16 frames of 224 pixels
        return 16 // config.tubelet, 224 // config.patch
    return config.grid.times, config.grid.side


def _huggingface_config(config: ModelConfig) -> dict[str, Any]:
    kind = "VideoMAEForPreTraining" if config.classes is None else "VideoMAEForVideoClassification"
    labels = {} if config.classes is None else {"id2label": {str(n): f"LABEL_{n}" for n in range(config.classes)}}
    return labels | {
        "architectures": [kind],
        "model_type": "videomae",
        "image_size": config.image_size,
        "patch_size": config.patch,
        "num_frames": config.num_frames,
        "tubelet_size": config.tubelet,
        "hidden_size": config.dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": int(config.dim * config.mlp_ratio),
        "layer_norm_eps": config.eps,
        "qkv_bias": config.bias != "none",
        "qv_bias": config.bias != "none",
        "use_mean_pooling": config.classes is not None,
        "decoder_hidden_size": config.decoder_dim,
        "decoder_num_hidden_layers": config.decoder_depth,
        "decoder_num_attention_heads": config.decoder_heads,
        "decoder_intermediate_size": int(config.decoder_dim * config.mlp_ratio),
        "norm_pix_loss": config.target == "per_channel",
    }
