"""Weights in and out of files: tolerant of layout, strict about keys."""

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from common.errors import WorkError
from common.files import replacing

FORMAT = "spatiotemporal-meta/1"


def export_pretrained(model: nn.Module, path: Path | str) -> None:
    """Write weights and config of `model` to `path`, atomically; `load_pretrained` reads it."""
    content = {"format": FORMAT, "config": asdict(model.config), "model": model.state_dict()}  # type: ignore[call-overload]
    with replacing(Path(path)) as temporary:
        torch.save(content, temporary)


Model = TypeVar("Model", bound=nn.Module)


def load_pretrained(model: Model, path: Path | str, *, encoder_only: bool = False) -> Model:
    """Load the weights in `path` into `model` and return it.

    With `encoder_only` just `model.encoder` is filled; a decoder or head in the file, or in the model, is left alone.

    Raises:
        WorkError: the file is missing or no checkpoint, or a key is missing, unexpected, or of another shape; every such
            key is named.
    """
    state = read_state(Path(path))
    if encoder_only:
        state = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    fill(model.get_submodule("encoder") if encoder_only else model, state, str(path))
    return model


def fill(model: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Copy `state` into `model`, whose keys and shapes must be the same; `origin` names the file in the error."""
    own = model.state_dict()
    complaints = [f"missing {key}" for key in own if key not in state]
    complaints += [f"unexpected {key}" for key in state if key not in own]
    complaints += [
        f"{key} is {tuple(state[key].shape)} where the model has {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
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


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights in one of our own checkpoint files; raises as `read_checkpoint`."""
    content = read_checkpoint(path)
    if content.get("format") != FORMAT:
        raise WorkError(
            f"{path} has a layout that is not known here: it has keys {', '.join(map(str, list(content)[:5]))}"
        )
    state: dict[str, Tensor] = content["model"]
    return state
