"""Models small enough to run many times, and videos for them."""

import torch
from torch import Generator, Tensor, nn

from training.models import MAE, Classifier, create_model

SHAPE = {"num_frames": 8, "dim": 48, "depth": 2, "heads": 3, "decoder_dim": 24, "decoder_depth": 1}


def autoencoder(**overrides: object) -> MAE:
    """8 frames of 64x64 in tubelets of 2x8x8, so 4 time patches of 8x8."""
    model = create_model("small_2x8x8", **(SHAPE | overrides))
    assert isinstance(model, MAE)
    return model


def classifier(**overrides: object) -> Classifier:
    model = create_model("small_2x8x8", **(SHAPE | {"classes": 5} | overrides))
    assert isinstance(model, Classifier)
    return model


def random_video(batch: int = 2, seed: int = 0, *, requires_grad: bool = False) -> Tensor:
    video = torch.randn(batch, 3, 8, 64, 64, generator=Generator().manual_seed(seed))
    return video.requires_grad_(requires_grad)


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Add noise to every parameter, so that biases and norms take part too."""
    generator = Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
