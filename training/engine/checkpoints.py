"""Checkpoints of training runs: everything that a stopped run needs to continue, and the weights of a finished one."""

import errno
import hashlib
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from common.errors import WorkError
from common.files import sweep
from common.paths import CHECKPOINTS
from training.clips import MANIFEST
from training.models.pretrained import FORMAT, read_checkpoint, write_checkpoint
from training.params import Compile

History = dict[str, list[float]]
"""One list per measured quantity, `loss` among them, with one value per step."""
Weights = dict[str, Tensor]
"""The state dict of a model."""


@dataclass(frozen=True)
class Run:
    """A training run.

    Args:
        name: of its checkpoint's folder and of its loss curve; may contain slashes.
        fingerprint: digest of everything that shapes the weights; checkpoints with another one are not resumed.
        seed: of the weights' initialisation, of batches, windows, masks and dropout.
        compile: compile the steps; `auto`: on a GPU.
    """

    name: str
    fingerprint: str
    seed: int
    compile: Compile = "auto"

    @property
    def path(self) -> Path:
        """The run's checkpoint."""
        return checkpoint_path(self.name)


def checkpoint_path(name: str) -> Path:
    """The checkpoint of the run `name`."""
    return CHECKPOINTS / name / "model.pt"


def fingerprint(*parts: Any) -> str:
    """Digest of JSON-like values and dataclasses."""
    plain = [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def data_fingerprint(manifest: Path = MANIFEST) -> str:
    """Digest of the shards manifest, which holds the digest and the place of every filmstrip.

    Raises:
        WorkError: the manifest is missing.
    """
    try:
        return hashlib.sha256(manifest.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        raise WorkError(f"{manifest} is not here: run `make dataset`, which writes it") from None


@dataclass
class TrainState:
    """Everything that training changes, besides the history of its losses."""

    model: nn.Module
    optimiser: AdamW
    average: nn.Module | None = None
    validation: History = field(default_factory=dict)
    """One list per measured quantity, `step` and `loss` among them, with one value per validation."""
    best: Weights | None = None
    """The weights with the lowest validation loss, where a run ends by patience."""

    def weights(self) -> Weights:
        """The averaged weights, or else the model's."""
        return (self.model if self.average is None else self.average).state_dict()

    def result(self) -> Weights:
        """The weights that the run returns: the best ones, or else the averaged ones, or else the model's."""
        return self.weights() if self.best is None else self.best


def save(run: Run, state: TrainState, history: History, *, done: bool) -> None:
    """Write the run's checkpoint, atomically. `load_pretrained` reads its weights as well."""
    content = {
        "format": FORMAT,
        "fingerprint": run.fingerprint,
        "done": done,
        "model": state.result() if done else state.model.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
        "best": state.best,
        "optimiser": state.optimiser.state_dict(),
        "history": history,
        "validation": state.validation,
    }
    write_checkpoint(content, run.path)


def save_result(run: Run, model: nn.Module) -> None:
    """Write the checkpoint of a run that has no steps, atomically, for `load_finished`."""
    sweep(run.path.parent)
    content = {
        "format": FORMAT,
        "fingerprint": run.fingerprint,
        "done": True,
        "model": model.state_dict(),
        "history": {},
    }
    write_checkpoint(content, run.path)


def resume(run: Run, state: TrainState) -> History:
    """Load the run's checkpoint into `state`, and return its history.

    The whole checkpoint is checked first. If there is none, or it is damaged or of another run, nothing is changed, and the
    history is empty. Temporary files of killed processes in its folder are deleted.
    """
    sweep(run.path.parent)
    if not run.path.exists():
        return {}
    try:
        content = _read(run.path)
    except WorkError as error:
        print(f"{run.name}: {error}; starting over")
        return {}
    if content.get("fingerprint") != run.fingerprint:
        print(f"{run.name}: {run.path} is of other params, data or code; starting over")
        return {}
    if not _is_complete(content, state):
        print(f"{run.name}: {run.path} is not a checkpoint of this run; starting over")
        return {}
    state.model.load_state_dict(content["model"])
    if state.average is not None:
        state.average.load_state_dict(content["average"])
    state.optimiser.load_state_dict(content["optimiser"])
    state.best, state.validation = content["best"], content["validation"]
    history: History = content["history"]
    return history


def load_finished(run: Run, model: nn.Module) -> None:
    """Load the weights that a finished run has trained into `model`.

    Raises:
        WorkError: the checkpoint is missing, damaged, of other params, data or code, or of a run that has not finished.
    """
    state = _read(run.path)
    command = f"run `python -m training {run.name.partition('/')[0]}` first"
    if state.get("fingerprint") != run.fingerprint:
        raise WorkError(f"{run.path} is of other params, data or code: {command}")
    if not _same_structure(state.get("model"), model.state_dict()):
        raise WorkError(f"{run.path} does not fit the model: {command}")
    if state.get("done") is not True:
        raise WorkError(f"{run.path} is of a run that has not finished: {command}")
    model.load_state_dict(state["model"])


def _read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, read only if the checksums in it are right, which `torch.load` does not look at.

    Raises:
        WorkError: the file is missing or damaged.
    """
    damage = _damage(path) if path.exists() else None
    if damage is not None:
        raise WorkError(f"{path} is damaged: {damage}")
    return read_checkpoint(path)


def _damage(path: Path) -> str | None:
    """The defect of a zip archive, which is the format of `torch.save`; None if it has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        return str(error)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to before the file's first byte
            raise
        return str(error)
    return None if part is None else f"the checksum of {part} is wrong"


def _is_complete(content: dict[str, Any], state: TrainState) -> bool:
    """True if every part of a checkpoint can be loaded."""
    expected = {
        "format": FORMAT,
        "fingerprint": "",
        "done": True,
        "model": state.model.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
    }
    return (
        set(content) == {*expected, "best", "optimiser", "history", "validation"}
        and _same_structure({key: content[key] for key in expected}, expected)
        and (content["best"] is None or _same_structure(content["best"], expected["model"]))
        and _is_optimiser_state(content["optimiser"], state.optimiser)
        and _is_history(content["history"])
        and (content["validation"] == {} or _is_history(content["validation"]))
    )


def _same_structure(value: object, expected: object) -> bool:
    """True if both have the same types, keys, lengths, tensor shapes and dtypes."""
    if isinstance(expected, Tensor):
        return isinstance(value, Tensor) and (value.shape, value.dtype) == (expected.shape, expected.dtype)
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(_same_structure(value[key], item) for key, item in expected.items())
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(value, type(expected))
            and len(value) == len(expected)
            and all(_same_structure(*pair) for pair in zip(value, expected, strict=True))
        )
    return type(value) is type(expected)


def _is_optimiser_state(value: object, optimiser: AdamW) -> bool:
    if not isinstance(value, dict) or value.keys() != {"state", "param_groups"} or not isinstance(value["state"], dict):
        return False
    groups = optimiser.state_dict()["param_groups"]
    if not _same_structure(value["param_groups"], groups):
        return False
    if [group["params"] for group in value["param_groups"]] != [group["params"] for group in groups]:
        return False
    parameters = dict(enumerate(parameter for group in optimiser.param_groups for parameter in group["params"]))
    return all(  # parameters that no loss has reached have no moments
        number in parameters
        and _same_structure(
            moments,
            {"step": torch.tensor(0.0), "exp_avg": parameters[number], "exp_avg_sq": parameters[number]},
        )
        for number, moments in value["state"].items()
    )


def _is_history(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("loss"), list):
        return False
    steps = len(value["loss"])
    return steps > 0 and all(
        isinstance(column, list) and len(column) == steps and all(type(number) is float for number in column)
        for column in value.values()
    )
