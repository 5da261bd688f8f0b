"""Handwritten characters of Omniglot (Lake et al., Science 2015), and an embedding of them by four convolutions."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.jitter import Jitter
from common.errors import WorkError

_SIDE = 28  # pixels
_TURNS = 4  # by 90 degrees; each makes a class of its own
_BATCH = 512
JITTER = Jitter(angle=0.2, shift=0.1, scale=0.1, stretch=0.1, shear=0.2)
_SLIGHT_JITTER = Jitter(angle=0.1, shift=0.05, scale=0.05, stretch=0.05, shear=0.1)


@dataclass(frozen=True)
class Drawings:
    """Drawings of characters with their classes.

    Args:
        images: ink, (N, 28, 28) uint8.
        classes: (N,), from 0; a character turned by 90 degrees is another class.
    """

    images: Tensor
    classes: Tensor


def read_alphabets(archives: Sequence[Path]) -> dict[str, Tensor]:
    """Characters of each alphabet, (characters, drawings, 28, 28) uint8, from zips of ALPHABET/CHARACTER/DRAWING.png.

    An alphabet that several archives hold counts once. Alphabets and characters are sorted by name.
    """
    found: dict[str, dict[str, dict[str, Tensor]]] = {}
    for archive in archives:
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                path = PurePosixPath(name)
                if path.suffix == ".png" and "__MACOSX" not in path.parts:
                    alphabet, character = path.parts[-3:-1]
                    drawings = found.setdefault(alphabet, {}).setdefault(character, {})
                    drawings[path.name] = _decode(opened.read(name))
    return {
        alphabet: torch.stack([_sorted(characters[character]) for character in sorted(characters)])
        for alphabet, characters in sorted(found.items())
    }


def with_turns(alphabets: Sequence[Tensor]) -> Drawings:
    """All characters of some alphabets, each also turned by 90, 180 and 270 degrees."""
    characters = torch.cat([alphabet.rot90(turn, (2, 3)) for alphabet in alphabets for turn in range(_TURNS)])
    classes = torch.arange(len(characters)).repeat_interleave(characters.shape[1])
    return Drawings(characters.flatten(0, 1), classes)


def with_mirrored(drawings: Drawings) -> Drawings:
    """The drawings, then their mirror images, which are of classes of their own."""
    number = int(drawings.classes.max()) + 1
    return Drawings(
        torch.cat([drawings.images, drawings.images.flip(2)]), torch.cat([drawings.classes, number + drawings.classes])
    )


def augment(images: Tensor, generator: Generator) -> Tensor:
    """Turn, stretch and shift each drawing a little: (N, 28, 28) uint8 -> (N, 28, 28) uint8."""
    return JITTER(images.unsqueeze(1), generator).squeeze(1)


class ConvEmbedding(nn.Module):
    """Four convolutions of stride 2 with batch normalisation (as Finn et al. 2017 have them for Omniglot) and a linear layer.

    Args:
        values: of an embedding, which has unit length.
        channels: of the convolutions.
    """

    def __init__(self, values: int, channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(4):
            convolution = nn.Conv2d(channels if number else 1, channels, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
        self.blocks = nn.Sequential(*layers)
        self.out = nn.Linear(4 * channels, values)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 28, 28) uint8 -> (N, values)"""
        return F.normalize(self.out(self.blocks(images.unsqueeze(1).float() / 255).flatten(1)), dim=1)

    @torch.no_grad()
    def of_all(self, images: Tensor) -> Tensor:
        """`forward` in eval mode, in batches."""
        self.eval()
        return torch.cat([self(part) for part in tqdm(images.split(_BATCH), "embed", leave=False, disable=None)])

    def averaged(self, images: Tensor, generator: Generator, copies: int) -> Tensor:
        """The mean of `of_all` over each drawing and slightly jittered copies of it, of unit length."""
        jittered = [_SLIGHT_JITTER(images.unsqueeze(1), generator).squeeze(1) for _ in range(copies)]
        return F.normalize(torch.stack([self.of_all(shown) for shown in (images, *jittered)]).mean(0), dim=1)


def _decode(content: bytes) -> Tensor:
    """A PNG with black ink -> (28, 28) uint8, white ink."""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise WorkError("a drawing is not a readable picture")
    return torch.from_numpy(cv2.resize(255 - picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))


def _sorted(drawings: dict[str, Tensor]) -> Tensor:
    return torch.stack([drawings[name] for name in sorted(drawings)])
