"""Toy datasets in the layout of manifests/shards.parquet, and params that train on them for a few steps."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.conftest import REPO


@dataclass
class ToyClip:
    clip_id: str
    frames: np.ndarray  # (T, S, S, 3) uint8 RGB
    class_id: int
    split: str = "train"
    official_split: str | None = "train"
    labels: tuple[str, ...] | None = None
    valid_frames: int | None = None  # None: all


def numbered_frames(clip: int, ticks: int = 100, size: int = 64) -> np.ndarray:
    """Frames that show their clip's number and their tick, each below 256, as 16 black or white blocks."""
    frames = np.zeros((ticks, size, size, 3), np.uint8)
    block = size // 4
    for tick, frame in enumerate(frames):
        for bit in range(16):
            if (clip * 256 + tick) >> bit & 1:
                row, column = bit // 4 * block, bit % 4 * block
                frame[row : row + block, column : column + block] = 255
    return frames


def read_numbers(frames: np.ndarray) -> list[tuple[int, int]]:
    """Clip number and tick that each of the frames (T, S, S, 3) shows."""
    block = frames.shape[1] // 4
    bright = frames.reshape(len(frames), 4, block, 4, block, 3).mean((2, 4, 5)).reshape(len(frames), 16) > 127
    values = (bright * 2 ** np.arange(16)).sum(1)
    return [(int(value) // 256, int(value) % 256) for value in values]


def orbiting_square(speed: float, rng: np.random.Generator, ticks: int = 100, size: int = 64) -> np.ndarray:
    """Frames with a bright square that circles at `speed` radians per tick, from a random angle, in a random colour."""
    frames = np.full((ticks, size, size, 3), rng.integers(0, 80), np.uint8)
    phase, colour = rng.uniform(0, 2 * np.pi), rng.integers(150, 255, 3)
    side = size // 8
    for tick, frame in enumerate(frames):
        angle = phase + speed * tick
        row = int((0.4375 + 0.3125 * np.sin(angle)) * size)
        column = int((0.4375 + 0.3125 * np.cos(angle)) * size)
        frame[row : row + side, column : column + side] = colour
    return frames


def orbit_clips(
    classes: int = 12, held_out: int = 5, per_class: int = 4, ticks: int = 100, size: int = 64
) -> list[ToyClip]:
    """Clips of classes that differ in the speed of a circling square; the last `held_out` classes are the test split."""
    rng = np.random.default_rng(0)
    return [
        ToyClip(
            clip_id=f"toy-c{number:02d}-{clip}",
            frames=orbiting_square(0.05 + 0.05 * number, rng, ticks, size),
            class_id=number,
            split="test" if number >= classes - held_out else "train",
            official_split="test" if clip == 0 else "train",
            labels=(f"label{number % 3}",),
        )
        for number in range(classes)
        for clip in range(per_class)
    ]


def write_shards(root: Path, clips: Sequence[ToyClip], suffix: str = ".jpg", per_shard: int = 10_000) -> None:
    """Write data/shards/<split>-<number>.tar and manifests/shards.parquet below `root`."""
    (root / "data/shards").mkdir(parents=True)
    (root / "manifests").mkdir()
    rows = []
    for split in sorted({clip.split for clip in clips}):
        chosen = [clip for clip in clips if clip.split == split]
        for number, first in enumerate(range(0, len(chosen), per_shard)):
            shard = f"data/shards/{split}-{number:06d}.tar"
            with tarfile.open(root / shard, "w") as tar:
                for clip in chosen[first : first + per_shard]:
                    data = encode(clip.frames, suffix)
                    entry = tarfile.TarInfo(clip.clip_id + suffix)
                    entry.size, offset = len(data), tar.offset + 512
                    tar.addfile(entry, io.BytesIO(data))
                    rows.append(_row(clip, shard, offset, data))
    pq.write_table(pa.Table.from_pylist(rows), root / "manifests/shards.parquet")


def encode(frames: np.ndarray, suffix: str = ".jpg") -> bytes:
    """A filmstrip of frames (T, S, S, 3)."""
    strip = frames.reshape(-1, frames.shape[2], 3)[..., ::-1]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix == ".jpg" else [cv2.IMWRITE_WEBP_QUALITY, 101]
    return cv2.imencode(suffix, strip, quality)[1].tobytes()


def _row(clip: ToyClip, shard: str, offset: int, data: bytes) -> dict[str, Any]:
    return {
        "clip_id": clip.clip_id,
        "source": "toy",
        "status": "ok",
        "class_id": clip.class_id,
        "class_name": f"c{clip.class_id}",
        "split": clip.split,
        "official_split": clip.official_split,
        "tinyvirat_labels": None if clip.labels is None else list(clip.labels),
        "valid_frames": clip.valid_frames or len(clip.frames),
        "sha256": hashlib.sha256(data).hexdigest(),
        "shard": shard,
        "offset": offset,
        "length": len(data),
    }


def optimiser(steps: int) -> dict[str, Any]:
    """Params of an optimiser."""
    values = {"steps": steps, "warmup": 1, "batch": 4, "lr": 0.01, "weight_decay": 0.1}
    return values | {"betas": [0.9, 0.95], "clip_norm": 1.0}


def write_params(root: Path, **changes: Any) -> None:
    """Write params that train for a few steps; `pretrain__stride=4` sets `pretrain.stride`, whatever the corpus."""
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    for section in ("pretrain", "stage1", "stage2", "stage3", "evaluate", "ablation"):
        params[section] |= params[section].pop("sample")
    params["pretrain"]["optimiser"] = optimiser(steps=4)
    params["stage1"]["optimiser"] = optimiser(steps=2)
    params["stage2"] |= {"pretrain": optimiser(steps=2), "finetune": optimiser(steps=2)}
    params["stage3"] |= {
        "embedding_optimiser": optimiser(steps=3),
        "optimiser": optimiser(steps=3),
        "instances": 3,
        "short_episodes": {"instances": 2, "share": 0.5},
        "views": 4,
    }
    end_to_end = {"instances": 2, "micro_batch": None, "class_weight": 1.0}
    end_to_end |= {name: optimiser(steps=2) | {"batch": 2} for name in ("finetuned", "scratch")}
    params["stage3"]["end_to_end"] = end_to_end
    params["evaluate"]["episodes"] = 40
    params["ablation"] |= {
        "seeds": 2,
        "label_shares": [0.5, 1.0],
        "windows": 1,
        "episodes": 30,
        "end_to_end": end_to_end,
    }
    params["ablation"] |= {"embedding_optimiser": optimiser(steps=2), "optimiser": optimiser(steps=2)}
    for dotted, value in changes.items():
        *sections, key = dotted.split("__")
        place = params
        for section in sections:
            place = place[section]
        place[key] = value
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def run_python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in `root`, without a GPU."""
    environment = {"PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment, check=False)


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
