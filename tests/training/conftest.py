import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]


def draw_strip(speed: float, rng: np.random.Generator) -> np.ndarray:
    """A bright square that goes round at its class's speed: (100, 64, 64, 3) uint8."""
    frames = np.full((100, 64, 64, 3), rng.integers(0, 80), np.uint8)
    phase, colour = rng.uniform(0, 2 * np.pi), rng.integers(150, 255, 3)
    for tick, frame in enumerate(frames):
        angle = phase + speed * tick
        row, column = 28 + 20 * np.sin(angle), 28 + 20 * np.cos(angle)
        frame[int(row) : int(row) + 8, int(column) : int(column) + 8] = colour
    return frames


def write_shards(folder: Path, classes: int = 12, held_out: int = 5, clips: int = 4) -> None:
    rng = np.random.default_rng(0)
    rows = []
    (folder / "data/shards").mkdir(parents=True)
    (folder / "manifests").mkdir()
    for split in ("train", "test"):
        shard = f"data/shards/{split}-000000.tar"
        with tarfile.open(folder / shard, "w") as tar:
            for number in range(classes):
                if (number >= classes - held_out) != (split == "test"):
                    continue
                for clip in range(clips):
                    strip = draw_strip(0.05 + 0.05 * number, rng).reshape(-1, 64, 3)[..., ::-1]
                    data = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
                    clip_id = f"toy-c{number:02d}-{clip}"
                    info = tarfile.TarInfo(f"{clip_id}.jpg")
                    info.size, offset = len(data), tar.offset + 512
                    tar.addfile(info, io.BytesIO(data))
                    rows.append(
                        {
                            "clip_id": clip_id,
                            "source": "toy",
                            "status": "ok",
                            "class_id": number,
                            "class_name": f"c{number}",
                            "split": split,
                            "official_split": "test" if clip == 0 else "train",
                            "tinyvirat_labels": [f"label{number % 3}"],
                            "valid_frames": 100,
                            "shard": shard,
                            "offset": offset,
                            "length": len(data),
                        }
                    )
    pd.DataFrame(rows).to_parquet(folder / "manifests/shards.parquet")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with toy shards and params that train for a few steps; the test runs in it."""
    write_shards(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    few = {"warmup": 1, "batch": 4, "lr": 0.001, "weight_decay": 0.0}
    params["pretrain"]["sample"] |= {"optimiser": few | {"steps": 4}}
    params["stage1"]["sample"] |= {"optimiser": few | {"steps": 2}}
    params["stage2"]["sample"] |= {"pretrain": few | {"steps": 2}, "finetune": few | {"steps": 2}}
    params["stage3"]["sample"] |= {"optimiser": few | {"steps": 3}}
    params["stage3"]["instances"] = 3
    params["evaluate"]["sample"] = {"episodes": 40}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())
