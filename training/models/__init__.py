"""Video transformers by name: masked autoencoders and classifiers, and their weights from and to files."""

from dataclasses import fields, replace
from typing import Any

from common.errors import ParamError
from training.models.classifier import Classifier
from training.models.config import ModelConfig
from training.models.mae import MAE, MAEOutput
from training.models.presets import PRESETS
from training.models.pretrained import export_pretrained, load_pretrained

__all__ = ["MAE", "Classifier", "MAEOutput", "ModelConfig", "create_model", "export_pretrained", "load_pretrained"]


def create_model(name: str, **overrides: Any) -> MAE | Classifier:
    """The model called `name`, freshly initialised; `overrides` replace fields of its config (see `ModelConfig`).

    A config with `classes` gives a classifier, one without gives a masked auto-encoder.

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
        config = replace(PRESETS[name], **overrides)
    except ValueError as error:
        raise ParamError(f"model {name}: {error}") from None
    return MAE(config) if config.classes is None else Classifier(config)
