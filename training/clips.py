"""Clips by id, read from the shards: `Clips("manifests/shards.parquet")["k400-..."]` is a (100, 64, 64, 3) uint8 tensor.

A clip is stored as a filmstrip, an image with the frames one below the other; its width is the frame size S, and its height
divided by S the number of ticks T. `shards.parquet` gives the byte range of every filmstrip in its shard, and its digest,
which is compared whenever a clip is read.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from common import written
from common.errors import WorkError
from common.paths import MANIFESTS
from training.shards import open_shards

MANIFEST = MANIFESTS / "shards.parquet"
_BAD_IN_A_ROW = 100  # unreadable clips after which the shards, not the clips, are at fault
cv2.setNumThreads(0)  # clips are decoded in parallel, each by one thread


@dataclass(frozen=True)
class Clip:
    """The columns of a row of shards.parquet that training uses."""

    clip_id: str
    source: str
    class_id: int
    class_name: str
    split: str
    official_split: str | None
    tinyvirat_labels: tuple[str, ...]
    valid_frames: int
    sha256: str
    shard: str
    offset: int
    length: int


class Clips:
    """The clips of a shards manifest. Its shard paths are relative to the folder above the manifest's.

    Args:
        manifest: a file.
        shards: folder or fsspec URL that the shard paths are relative to, instead of that folder.

    Raises:
        ParamError: fsspec cannot use the URL.
        WorkError: the manifest is missing, has changed since it was written, or is not a shards manifest.
    """

    def __init__(self, manifest: str | Path = MANIFEST, shards: str | None = None) -> None:
        manifest = Path(manifest)
        root = manifest.parent.resolve().parent  # the manifest itself may be a link into DVC's cache
        try:
            content = manifest.read_bytes()
            if written.has_changed(MANIFESTS / manifest.name, content, root):
                raise WorkError(f"{manifest} has changed since it was written: delete it and run `make dataset`")
            # `pq.read_table` of a buffer leaves a thread that may abort the process at its end.
            table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
            self.rows = tuple(_clip(row) for row in table.to_pylist())
        except FileNotFoundError:
            raise WorkError(f"{manifest} is not here: run `make dataset`, which writes it") from None
        except KeyError as error:
            raise WorkError(f"{manifest} is not a shards manifest: it has no column {error}") from None
        except (OSError, ValueError, TypeError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise WorkError(f"{manifest} is not a shards manifest: {reason}") from None
        self._by_id = {clip.clip_id: clip for clip in self.rows}
        self.shards = open_shards(shards, root)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, clip_id: str) -> Tensor:
        """All frames of a clip, (T, S, S, 3) uint8 RGB.

        Raises:
            KeyError: there is no such clip.
            WorkError: its shard is missing or damaged, or its filmstrip has another shape than the first clip's.
        """
        return torch.from_numpy(self.frames(clip_id))

    @property
    def ticks(self) -> int:
        """Frames of each clip, T."""
        return self._shape[0]

    @property
    def size(self) -> int:
        """Height and width of the frames in pixels, S."""
        return self._shape[1]

    def select(self, *, split: str | None = None, source: str | None = None) -> tuple[Clip, ...]:
        """Clips of a class split (train or test) and of a source, in the manifest's order."""
        chosen = (clip for clip in self.rows if split is None or clip.split == split)
        return tuple(clip for clip in chosen if source is None or clip.source == source)

    def frames(self, clip_id: str) -> NDArray[np.uint8]:
        """The frames of `clips[clip_id]` as an array; raises the same errors."""
        return self.decode(self._by_id[clip_id])

    def decode(self, clip: Clip, data: bytes | None = None) -> NDArray[np.uint8]:
        """The frames of a clip from the bytes of its filmstrip, or else from its shard, (T, S, S, 3) uint8 RGB.

        Raises:
            WorkError: the bytes are not the clip's, its shard is missing, or its frames differ in shape from the others'.
        """
        frames = self._decode(clip, data)
        if frames.shape[:2] != self._shape:
            raise WorkError(
                f"{clip.clip_id} has {frames.shape[0]} frames of {frames.shape[1]} pixels, the first clip {self.ticks} of "
                f"{self.size}: `dvc repro -s -f shard` writes the shards again"
            )
        return frames

    def batch(self, clip_ids: Sequence[str], frames: int = 16, stride: int = 4, seed: int = 0) -> Tensor:
        """A random window of each clip, within its valid frames where they suffice: (B, frames, S, S, 3) uint8.

        Raises:
            KeyError: there is no such clip.
            ValueError: the window is longer than a clip.
            WorkError: see `clips[clip_id]`.
        """
        span = window_span(frames, stride, self.ticks)
        generator = np.random.default_rng(seed)
        windows = []
        for clip_id in clip_ids:
            last_start = max(0, self._by_id[clip_id].valid_frames - span)
            start = int(generator.integers(last_start + 1))
            windows.append(self.frames(clip_id)[start : start + span : stride])
        return torch.from_numpy(np.stack(windows))

    @cached_property
    def _shape(self) -> tuple[int, int]:
        """T and S, by the first filmstrip that can be read."""
        if not self.rows:
            raise WorkError("the shards hold no clips: `python -m pipeline stats` counts what was lost, by reason")
        for clip in self.rows[:_BAD_IN_A_ROW]:
            try:
                ticks, size = self._decode(clip).shape[:2]
            except WorkError as found:
                error = found
            else:
                return ticks, size
        raise error

    def _decode(self, clip: Clip, data: bytes | None = None) -> NDArray[np.uint8]:
        if clip.valid_frames < 1:
            raise WorkError(f"{clip.clip_id} has no valid frames: `dvc repro -s -f shard` writes the shards again")
        if data is None:
            data = self.shards.read(clip.shard, clip.offset, clip.length, clip.sha256)
        intact = bool(data) and hashlib.sha256(data).hexdigest() == clip.sha256
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if intact else None
        if image is None or image.shape[0] % image.shape[1]:
            raise WorkError(
                f"{clip.shard} holds no filmstrip of {clip.clip_id} at byte {clip.offset}: `python -m pipeline verify` "
                "lists the damage, `dvc repro -s -f shard` writes the shards again"
            )
        size = image.shape[1]
        frames: NDArray[np.uint8] = image.reshape(-1, size, size, 3).astype(np.uint8, copy=False)
        return frames


def window_span(frames: int, stride: int, ticks: int) -> int:
    """Ticks from the first to the last frame of a window, both included.

    Raises:
        ValueError: the window is empty, or longer than a clip of `ticks`.
    """
    span = (frames - 1) * stride + 1
    if frames < 1 or stride < 1 or span > ticks:
        raise ValueError(f"{frames} frames at stride {stride} span {span} ticks: a clip has {ticks}")
    return span


def _clip(row: dict[str, Any]) -> Clip:
    return Clip(
        clip_id=row["clip_id"],
        source=row["source"],
        class_id=row["class_id"],
        class_name=row["class_name"],
        split=row["split"],
        official_split=row["official_split"],
        tinyvirat_labels=tuple(row["tinyvirat_labels"] or ()),
        valid_frames=row["valid_frames"],
        sha256=row["sha256"],
        shard=row["shard"],
        offset=row["offset"],
        length=row["length"],
    )
