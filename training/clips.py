"""Clips by id, straight out of the shards: `Clips("manifests/shards.parquet")["k400-..."]` is a (100, 64, 64, 3) tensor.

`shards.parquet` alone is enough: it says at which byte of which tar each filmstrip lies.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import WorkError

SIZE, TICKS = 64, 100
cv2.setNumThreads(0)


@dataclass(frozen=True)
class Clip:
    """A row of shards.parquet, as training needs it."""

    clip_id: str
    source: str
    class_id: int
    class_name: str
    split: str
    official_split: str | None
    tinyvirat_labels: tuple[str, ...]
    valid_frames: int
    shard: str
    offset: int
    length: int


class Clips:
    """The clips of a shards manifest. Shard paths in it are relative to the folder above the manifest's.

    Raises:
        WorkError: the manifest is missing, or is no shards manifest.
    """

    def __init__(self, manifest: str | Path = "manifests/shards.parquet") -> None:
        manifest = Path(manifest)
        try:
            table = pd.read_parquet(manifest)
            self.rows = tuple(_clip(row) for row in table.to_dict("records"))
        except FileNotFoundError:
            raise WorkError(f"{manifest} is not here: run `make dataset`, which makes it") from None
        except (OSError, ValueError, KeyError) as error:
            raise WorkError(f"{manifest} is no shards manifest: {error}") from None
        self._by_id = {clip.clip_id: clip for clip in self.rows}
        self._root = manifest.resolve().parent.parent
        self._open = lru_cache(maxsize=None)(self._open_shard)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, clip_id: str) -> Tensor:
        """All frames of a clip, (100, 64, 64, 3) uint8 RGB.

        Raises:
            KeyError: there is no such clip.
            WorkError: its shard is missing or damaged.
        """
        return torch.from_numpy(self.frames(clip_id))

    def select(self, *, split: str | None = None, source: str | None = None) -> tuple[Clip, ...]:
        """Clips of a class split (train or test) and of a source, in the manifest's order."""
        chosen = (clip for clip in self.rows if split is None or clip.split == split)
        return tuple(clip for clip in chosen if source is None or clip.source == source)

    def frames(self, clip_id: str) -> NDArray[np.uint8]:
        """As `clips[clip_id]`, as an array."""
        clip = self._by_id[clip_id]
        data = os.pread(self._open(clip.shard), clip.length, clip.offset)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if len(data) == clip.length else None
        if image is None or image.shape != (TICKS * SIZE, SIZE, 3):
            raise WorkError(
                f"{clip.shard} holds no filmstrip of {clip_id} at byte {clip.offset}: `python -m pipeline verify` lists "
                "the damage, `dvc repro -s -f shard` writes the shards again"
            )
        return image.reshape(TICKS, SIZE, SIZE, 3).astype(np.uint8, copy=False)

    def batch(self, clip_ids: Sequence[str], frames: int = 16, stride: int = 4, seed: int = 0) -> Tensor:
        """One window of each clip, at a place drawn by `seed` within its valid frames: (B, frames, 64, 64, 3) uint8.

        Raises:
            ValueError: the window is longer than a clip.
        """
        span = window_span(frames, stride)
        generator = np.random.default_rng(seed)
        windows = []
        for clip_id in clip_ids:
            room = max(0, self._by_id[clip_id].valid_frames - span)
            start = int(generator.integers(room + 1))
            windows.append(self.frames(clip_id)[start : start + span : stride])
        return torch.from_numpy(np.stack(windows))

    def _open_shard(self, shard: str) -> int:
        try:
            return os.open(self._root / shard, os.O_RDONLY)
        except FileNotFoundError:
            raise WorkError(f"{shard} is not here: run `make dataset`, which makes it") from None


def window_span(frames: int, stride: int) -> int:
    """Ticks from the first to the last frame of a window, both counted.

    Raises:
        ValueError: a clip has not as many.
    """
    span = (frames - 1) * stride + 1
    if frames < 1 or stride < 1 or span > TICKS:
        raise ValueError(f"{frames} frames at stride {stride} span {span} ticks: a clip has {TICKS}")
    return span


def normalise(video: Tensor, mean: float = 0.45, std: float = 0.225) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, 3, T, H, W) float, standardised as MAE-ST does."""
    return (video.permute(0, 4, 1, 2, 3).float() / 255 - mean) / std


def _clip(row: dict[Any, Any]) -> Clip:
    labels = row["tinyvirat_labels"]
    return Clip(
        clip_id=row["clip_id"],
        source=row["source"],
        class_id=int(row["class_id"]),
        class_name=row["class_name"],
        split=row["split"],
        official_split=row["official_split"],
        tinyvirat_labels=tuple(labels) if labels is not None and not isinstance(labels, float) else (),
        valid_frames=int(row["valid_frames"]),
        shard=row["shard"],
        offset=int(row["offset"]),
        length=int(row["length"]),
    )
