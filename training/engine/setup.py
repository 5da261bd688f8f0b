"""The stages' models and data, built from params.yaml."""

from collections.abc import Sequence

import torch
from torch import Generator

from common.errors import ParamError
from training.clips import Clip, Clips
from training.data.windows import ClipWindows
from training.engine.checkpoints import load_finished
from training.engine.device import pick_device
from training.engine.runs import pretrain_run
from training.models import MAE, ModelConfig, create_model
from training.models.masking import Masking
from training.params import Autoencoder, EncoderName, Loader, TrainingParams


def build_masking(settings: Autoencoder) -> Masking:
    """How the section's clips are masked."""
    return Masking(settings.masking, settings.ratio, settings.decoder_ratio)


def build_autoencoder(settings: Autoencoder, section: str, size: int) -> MAE:
    """The section's autoencoder, freshly initialised, on the training device; the same weights for the same seed.

    Args:
        settings: a section of params.yaml.
        section: its name, for error messages.
        size: of the clips' frames in pixels; the model's `image_size` unless `overrides` set another.

    Raises:
        ParamError: the model is unknown or a classifier, or its config, or its config and the masking, are impossible.
    """
    torch.manual_seed(settings.seed)
    try:
        model = create_model(settings.model, **({"image_size": size} | settings.overrides))
    except ParamError as error:
        raise ParamError(f"params.yaml: {section}: {error}") from None
    if not isinstance(model, MAE):
        raise ParamError(
            f"params.yaml: {section}.model is {settings.model}, a classifier: must be a masked autoencoder"
        )
    _check_masking(model.config, settings, section)
    return model.to(pick_device())


def load_autoencoder(settings: TrainingParams, size: int) -> MAE:
    """The autoencoder with the weights that `pretrain` has trained.

    Raises:
        ParamError: see `build_autoencoder`.
        WorkError: `pretrain` has not finished with these params and data.
    """
    model = build_autoencoder(settings.pretrain, "pretrain", size)
    load_finished(pretrain_run(settings), model)
    return model.eval()


def load_autoencoders(settings: TrainingParams, size: int) -> dict[EncoderName, MAE]:
    """The autoencoder as pre-trained, and with random weights, as initialised; raises as `load_autoencoder`."""
    return {
        "pretrained": load_autoencoder(settings, size),
        "random": build_autoencoder(settings.pretrain, "pretrain", size).eval(),
    }


def load_windows(
    clips: Clips, rows: Sequence[Clip], config: ModelConfig, settings: Autoencoder, section: str, loader: Loader
) -> ClipWindows:
    """The clips' windows as the model takes them, `settings.stride` apart, for the training device.

    Raises:
        ParamError: a window is longer than a clip.
        WorkError: there are no clips, or one cannot be read.
    """
    try:
        return ClipWindows(
            clips,
            rows,
            frames=config.num_frames,
            stride=settings.stride,
            device=pick_device(),
            storage=loader.storage,
        )
    except ValueError as error:
        raise ParamError(f"params.yaml: {section}.stride is {settings.stride}: {error}") from None


def _check_masking(config: ModelConfig, settings: Autoencoder, section: str) -> None:
    """Draw one mask, so that an impossible one is reported before any clip is read."""
    masking, generator = build_masking(settings), Generator()
    if config.factorised_attention and settings.masking != "tube":
        raise ParamError(
            f"params.yaml: {section}.masking is {settings.masking}: must be tube with factorised_attention"
        )
    try:
        masking(1, config.grid, generator)
        masking.decoder_mask(1, config.grid, generator)
    except ValueError as error:
        raise ParamError(f"params.yaml: {section}.masking is {settings.masking}: {error}") from None
