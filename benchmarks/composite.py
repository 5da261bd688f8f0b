"""merge, split, shard and verify at full size: 24,927 clips of 518 classes as on the day the real datasets are here.

Class names are the real ones where SHARED_DATA has them; label sets of 26 labels follow a long tail; filmstrips are drawn,
each clip its own. Prints wall time and peak memory of the whole run, at a tenth of the size and at full size.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from benchmarks.measure import machine, table
from pipeline.records import manifests
from pipeline.sources.kinetics400.quotas import even_quotas
from pipeline.video import filmstrip

REPO = Path(__file__).resolve().parents[1]
SHARED_DATA = (REPO / os.environ.get("SHARED_DATA", "../shared")).resolve()
KINETICS, TINYVIRAT, SETS = 12_098, 12_829, 160
STAGES = ("merge", "split", "shard", "verify")
# What a process is told of its child's size begins with its own: so a small one asks.
_MEASURE = (
    "import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); _, status, usage = os.wait4(pid, 0);"
    "print(end=str(usage.ru_maxrss)); sys.exit(os.waitstatus_to_exitcode(status))"
)
Row = dict[str, Any]


def main() -> None:
    """Build a project of each size, run its stages, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work (about 11 GB); by default a temporary folder")
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for share in (0.1, 1.0):
            root = Path(folder, f"{share:g}")
            clips = prepare(root, share)
            print(f"{clips:,} clips, {sum(p.stat().st_size for p in root.rglob('*.jpg')) / 1e9:.2f} GB of filmstrips")
            for stage in STAGES:
                seconds, memory, said = run(root, [sys.executable, "-m", "pipeline", stage])
                lines.append([f"{clips:,}", stage, f"{seconds:.1f} s", f"{memory:,.0f} MB"])
                print(said, end="")
            graph(root)
            for what in ("dvc repro, first", "dvc repro, nothing to do"):
                seconds, memory, _ = run(root, [sys.executable, "-m", "dvc", "repro", "--quiet"])
                lines.append([f"{clips:,}", what, f"{seconds:.1f} s", f"{memory:,.0f} MB"])
            shutil.rmtree(root)
    print(f"\n{machine()}\n\n{table(['clips', 'what', 'wall time', 'peak memory of one process'], lines)}")


def prepare(root: Path, share: float) -> int:
    """A project folder as resize leaves it; returns how many clips it has."""
    root.mkdir(parents=True)
    settings = yaml.safe_load((REPO / "params.yaml").read_text())
    settings["corpus"] = "full"
    if share < 1:
        settings["split"]["target_clips"] = None
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    for name in ("pipeline", "common"):
        (root / name).symlink_to(REPO / name)
    annotated = [*kinetics(share), *tinyvirat(share)]
    tasks = [(str(root), row["clip_id"], row["source"]) for row in annotated]
    with ProcessPoolExecutor() as pool:
        drawn = list(tqdm(pool.map(draw, tasks, chunksize=64), total=len(tasks), desc="drawing", disable=None))
    here = Path.cwd()
    try:
        os.chdir(root)
        for name in ("download", "resize"):
            common = {"status": "ok", "attempts": 1}
            rows = [row | common | {"key": row["clip_id"]} for row in annotated]
            if name == "resize":
                rows = [row | made | {"decode_s": 0.1} for row, made in zip(rows, drawn, strict=True)]
            manifests.write(name, rows)
    finally:
        os.chdir(here)
    return len(annotated)


def kinetics(share: float) -> Iterator[Row]:
    """Rows of `share` of Kinetics' part, spread over 400 classes."""
    path = SHARED_DATA / "annotations/kinetics-400/label_map.txt"
    names = path.read_text().split("\n")[:400] if path.exists() else [f"action {number}" for number in range(400)]
    for label, count in even_quotas(names, round(KINETICS * share), 0).items():
        for number in range(count):
            digest = hashlib.sha256(f"{label}/{number}".encode()).hexdigest()
            start = int(digest[:2], 16)
            yield {
                "clip_id": f"k400-{digest[:11]}-{start:06d}-{start + 10:06d}",
                "source": "kinetics400",
                "video_id": digest[:11],
                "start_s": float(start),
                "end_s": float(start + 10),
                "official_split": "train",
                "labels": [label],
                "in_minikinetics200": number % 2 == 0,
                "precut": True,
                "rank": number,
                "quota": count,
            }


def tinyvirat(share: float) -> Iterator[Row]:
    """Rows of `share` of TinyVIRAT's part: label sets of one to four of 26 labels, few of them frequent."""
    rng = random.Random(0)
    labels = [f"activity {number}" for number in range(26)]
    sets = list(
        dict.fromkeys(tuple(sorted(rng.sample(labels, rng.choice((1, 1, 2, 2, 3, 4))))) for _ in range(4 * SETS))
    )
    sets = sorted({(label,) for label in labels} | set(sets[:SETS]))
    rng.shuffle(sets)
    weights = [1 / (rank + 4) for rank in range(len(sets))]
    for number in range(round(TINYVIRAT * share)):
        split = "train" if number % 5 < 3 else "test"
        yield {
            "clip_id": f"tinyvirat-{split}-{number:05d}",
            "source": "tinyvirat",
            "video_id": f"VIRAT_S_{rng.randrange(118):06d}",
            "official_split": split,
            "labels": list(rng.choices(sets, weights)[0]),
            "in_minikinetics200": False,
            "precut": True,
            "rank": number,
            "quota": None,
        }


def draw(task: tuple[str, str, str]) -> Row:
    """A filmstrip of its own for one clip: a soft picture that drifts."""
    root, clip_id, source = task
    cv2.setNumThreads(1)
    rng = np.random.default_rng(int(hashlib.sha256(clip_id.encode()).hexdigest()[:12], 16))
    still = cv2.resize(rng.integers(0, 256, (9, 24, 3), dtype=np.uint8), (163, 64), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([still[:, tick : tick + 64] for tick in range(100)])
    data = filmstrip.encode(frames, format="jpg", quality=90)
    path = Path("data/filmstrips", source, f"{clip_id}.jpg")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)
    valid = 100 if source == "kinetics400" else 15 + int(rng.integers(35))
    return {"path": str(path), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "valid_frames": valid}


def graph(root: Path) -> None:
    """The part of dvc.yaml that starts here, in a repository of its own."""
    stages = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: stages[name] for name in STAGES}}))
    shutil.rmtree(root / "data/shards")
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True)
    settings = ["config", "cache.type", "reflink,hardlink,symlink"]
    subprocess.run([sys.executable, "-m", "dvc", *settings], cwd=root, check=True)


def run(root: Path, command: list[str]) -> tuple[float, float, str]:
    """Wall seconds and megabytes at the peak of the largest of its processes, and what it printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(root), "PATH": path}
    measured = [sys.executable, "-S", "-c", _MEASURE, *command]
    done = subprocess.run(measured, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        raise SystemExit(f"{json.dumps(command)} failed:\n{done.stdout}")
    text, _, memory = done.stdout.rpartition("\n")
    return seconds, int(memory) / 1024, f"{text}\n" if text else ""


if __name__ == "__main__":
    main()
