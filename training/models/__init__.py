"""Video transformers by name: masked autoencoders, classifiers and encoders, and their weights from and to files."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from common.errors import ParamError
from training.models.classifier import Classifier
from training.models.config import ModelConfig
from training.models.encoder import Encoder
from training.models.mae import MAE, MAEOutput
from training.models.presets import PRESETS
from training.models.pretrained import export_pretrained, load_pretrained, read_encoder

__all__ = [
    "MAE",
    "Classifier",
    "Encoder",
    "MAEOutput",
    "ModelConfig",
    "create_model",
    "export_pretrained",
    "load_encoder",
    "load_pretrained",
    "model_config",
]


def create_model(name: str, **overrides: Any) -> MAE | Classifier:
    """The model called `name`, freshly initialised; `overrides` replace fields of its config (see `ModelConfig`).

    A config with `classes` gives a classifier, one without gives a masked auto-encoder.

    Raises:
        ParamError: the name or a field is unknown, or the fields do not fit together.
    """
    config = model_config(name, **overrides)
    return MAE(config) if config.classes is None else Classifier(config)


def load_encoder(name: str, weights: Path | str, *, sha256: str | None = None, **overrides: Any) -> Encoder:
    """The encoder of the model called `name`, with pre-trained weights, in evaluation mode and without a decoder or head.

    `encoder.encode(video)` gives every token: video (B, 3, T, H, W), standardised by `preprocess(frames, encoder.config)`, ->
    (B, N, D), N tokens ordered by time, row and column on `encoder.config.grid` (`time_patches` x `side` x `side`).
    `encoder.pool(tokens)` gives one vector per clip, (B, D). The encoder has gradients, so it can be fine-tuned.

    Args:
        name: a named model.
        weights: path, URL or hub name of a checkpoint in any layout that `load_pretrained` knows.
        sha256: hex digest that the file must have.
        overrides: of fields of the model's config, such as `image_size` and `num_frames`.

    Raises:
        ParamError: the name or a field is unknown, or the fields do not fit together.
        WorkError: the weights cannot be read or do not fit.
    """
    return read_encoder(model_config(name, **overrides), weights, sha256=sha256).eval()


def model_config(name: str, **overrides: Any) -> ModelConfig:
    """The config of the model called `name`; `overrides` replace its fields.

    Raises:
        ParamError: the name or a field is unknown, or the fields do not fit together.
    """
    if name not in PRESETS:
        raise ParamError(f"model is {name!r}: must be one of {', '.join(PRESETS)}")
    known = {field.name for field in fields(ModelConfig)}
    unknown = next((key for key in overrides if key not in known), None)
    if unknown is not None:
        raise ParamError(f"model {name}: {unknown} is unknown: allowed are {', '.join(sorted(known))}")
    try:
        return replace(PRESETS[name], **overrides)
    except ValueError as error:
        raise ParamError(f"model {name}: {error}") from None
