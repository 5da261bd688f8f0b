"""Clips by id, straight out of the shards: `Clips("manifests/shards.parquet")["k400-..."]` is a (100, 64, 64, 3) tensor.

`shards.parquet` alone is enough: it says at which byte of which tar each filmstrip lies. `resident` decodes every
wanted filmstrip once, so that training reads frames where it computes.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from common.errors import WorkError

cv2.setNumThreads(0)


class Clips:
    """The clips of a shards manifest. Paths in it are relative to the folder above the manifest's."""

    def __init__(self, manifest: str | Path = "manifests/shards.parquet") -> None:
        manifest = Path(manifest)
        try:
            self.table = pd.read_parquet(manifest).set_index("clip_id", drop=False)
        except FileNotFoundError:
            raise WorkError(f"{manifest} is not here: run `make dataset`, which makes it") from None
        except (OSError, ValueError) as error:
            raise WorkError(f"{manifest} cannot be read: {error}") from None
        self._root = manifest.resolve().parent.parent
        self._open = lru_cache(maxsize=256)(self._open_shard)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, clip_id: str) -> Tensor:
        """All frames of a clip, `(T, S, S, 3) uint8` RGB.

        Raises:
            KeyError: there is no such clip.
            WorkError: its shard is missing or damaged.
        """
        return torch.from_numpy(self._decode(clip_id))

    def batch(self, clip_ids: Sequence[str], frames: int = 16, stride: int = 4, seed: int = 0) -> Tensor:
        """One window of each clip, at a place drawn by `seed`: `(B, frames, S, S, 3) uint8`."""
        generator = np.random.default_rng(seed)
        windows = []
        for clip_id in clip_ids:
            strip = self._decode(clip_id)
            ticks = window(len(strip), frames, stride, generator.random())
            windows.append(strip[ticks])
        return torch.from_numpy(np.stack(windows))

    def ids(self, split: str | None = None, source: str | None = None) -> list[str]:
        """Clip ids of a class split (train or test) and a source, in the manifest's order."""
        chosen = self.table
        if split is not None:
            chosen = chosen[chosen["split"] == split]
        if source is not None:
            chosen = chosen[chosen["source"] == source]
        return chosen["clip_id"].tolist()

    def resident(self, clip_ids: Sequence[str], every: int = 1, device: str | torch.device = "cpu") -> Tensor:
        """Every `every`-th tick of the clips in one tensor, `(N, ceil(T / every), S, S, 3) uint8` on `device`.

        Decoding releases the interpreter lock, so one thread per core is enough.
        """
        if not clip_ids:
            raise WorkError("no clip to load: the manifest has none in this split")
        first = self._decode(clip_ids[0])[::every]
        try:
            held = torch.empty((len(clip_ids), *first.shape), dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError:
            held = torch.empty((len(clip_ids), *first.shape), dtype=torch.uint8)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            strips = pool.map(lambda clip_id: self._decode(clip_id)[::every], clip_ids)
            for row, strip in enumerate(tqdm(strips, "load clips", len(clip_ids), unit="clip", disable=None)):
                held[row] = torch.from_numpy(np.ascontiguousarray(strip))
        return held

    def _decode(self, clip_id: str) -> NDArray[np.uint8]:
        row = self.table.loc[clip_id]
        shard, offset, length = row["shard"], int(row["offset"]), int(row["length"])
        data = os.pread(self._open(shard), length, offset)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if len(data) == length else None
        if image is None or image.shape[0] % image.shape[1]:
            raise WorkError(f"{shard}: no filmstrip of {clip_id} at byte {offset}: run `python -m pipeline verify`")
        return image.reshape(-1, image.shape[1], image.shape[1], 3).astype(np.uint8, copy=False)

    def _open_shard(self, shard: str) -> int:
        try:
            return os.open(self._root / shard, os.O_RDONLY)
        except FileNotFoundError:
            raise WorkError(f"{shard} is not here: run `make dataset`, which makes it") from None


def window(ticks: int, frames: int, stride: int, place: float) -> NDArray[np.int64]:
    """Indices of `frames` ticks, `stride` apart, starting `place` (0 to 1) of the way through what is possible.

    A clip that is too short for the window is entered again from its beginning.
    """
    room = max(0, ticks - (frames - 1) * stride - 1)
    return (int(place * (room + 1)) + np.arange(frames) * stride) % ticks


def normalise(video: Tensor, mean: float = 0.45, std: float = 0.225) -> Tensor:
    """`(B, T, H, W, 3) uint8` -> `(B, 3, T, H, W)` float, standardised as MAE-ST does."""
    return (video.permute(0, 4, 1, 2, 3).float() / 255 - mean) / std


def labels_of(clips: Clips, clip_ids: Iterable[str]) -> Tensor:
    """Class ids `(N,)` of clips."""
    return torch.tensor(clips.table.loc[list(clip_ids), "class_id"].to_numpy())
