"""merge, split, shard and verify at full size: 24,927 clips of 518 classes, with synthetic filmstrips.

Class names are the real ones where SHARED_DATA has them; label sets of 26 labels follow a long tail; every clip has a
filmstrip of its own. Prints wall time and peak memory of each stage at a tenth of the size and at full size.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from benchmarks.measure import describe_machine, markdown_table
from pipeline.records import manifests
from pipeline.records.rows import DownloadRow, ResizeRow
from pipeline.sources.kinetics400.quotas import even_quotas
from pipeline.video import filmstrip, quality

REPO = Path(__file__).resolve().parents[1]
SHARED_DATA = (REPO / os.environ.get("SHARED_DATA", "../shared")).resolve()
KINETICS_CLIPS, TINYVIRAT_CLIPS, LABEL_SETS = 12_098, 12_829, 160
STAGES = ("merge", "split", "shard", "verify")
# The peak memory that wait4 reports of a child begins with that of its parent, so a small process starts the stage.
_MEASURE = (
    "import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); _, status, usage = os.wait4(pid, 0);"
    "print(end=str(usage.ru_maxrss)); sys.exit(os.waitstatus_to_exitcode(status))"
)


@dataclass(frozen=True)
class Run:
    """One command: its wall time, the peak memory of its largest process, and its output."""

    seconds: float
    peak_mb: float
    output: str


def main() -> None:
    """Build a project of each size, run its stages, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work (about 11 GB); by default a temporary folder")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.1, 1.0], help="shares of the full size")
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for size in arguments.sizes:
            root = Path(folder, f"{size:g}")
            clips = prepare(root, size)
            print(f"{clips:,} clips, {sum(p.stat().st_size for p in root.rglob('*.jpg')) / 1e9:.2f} GB of filmstrips")
            for stage in STAGES:
                done = measure(root, [sys.executable, "-m", "pipeline", stage])
                lines.append([f"{clips:,}", stage, f"{done.seconds:.1f} s", f"{done.peak_mb:,.0f} MB"])
                print(done.output, end="")
            set_up_dvc(root)
            for name in ("dvc repro, first", "dvc repro, nothing to do"):
                done = measure(root, [sys.executable, "-m", "dvc", "repro", "--quiet"])
                lines.append([f"{clips:,}", name, f"{done.seconds:.1f} s", f"{done.peak_mb:,.0f} MB"])
            shutil.rmtree(root)
    header = ["clips", "what", "wall time", "peak memory of one process"]
    print(f"\n{describe_machine()}\n\n{markdown_table(header, lines)}")


def prepare(root: Path, size: float) -> int:
    """Write the project folder with the results of download and resize; returns the number of clips."""
    root.mkdir(parents=True)
    settings = yaml.safe_load((REPO / "params.yaml").read_text())
    settings["corpus"] = "full"
    if size < 1:
        settings["split"]["target_clips"] = None
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    for name in ("pipeline", "common"):
        (root / name).symlink_to(REPO / name)
    annotated = [*kinetics_rows(size), *tinyvirat_rows(size)]
    with ProcessPoolExecutor() as pool:
        drawn = pool.map(write_filmstrip, annotated, [root] * len(annotated), chunksize=64)
        filmstrips = list(tqdm(drawn, total=len(annotated), desc="drawing", disable=None))
    before = Path.cwd()
    try:
        os.chdir(root)
        manifests.write(DownloadRow, annotated)
        manifests.write(ResizeRow, filmstrips)
    finally:
        os.chdir(before)
    return len(annotated)


def kinetics_rows(size: float) -> Iterator[DownloadRow]:
    """Rows of `size` times Kinetics' clips, spread over 400 classes."""
    path = SHARED_DATA / "annotations/kinetics-400/label_map.txt"
    names = path.read_text().split("\n")[:400] if path.exists() else [f"action {number}" for number in range(400)]
    for label, count in even_quotas(names, round(KINETICS_CLIPS * size), 0).items():
        for number in range(count):
            digest = hashlib.sha256(f"{label}/{number}".encode()).hexdigest()
            start = int(digest[:2], 16)
            yield DownloadRow(
                clip_id=f"k400-{digest[:11]}-{start:06d}-{start + 10:06d}",
                source="kinetics400",
                video_id=digest[:11],
                start_s=float(start),
                end_s=float(start + 10),
                official_split="train",
                labels=(label,),
                in_minikinetics200=number % 2 == 0,
                rank=number,
                quota=count,
                path="raw.mp4",
                bytes=0,
                sha256="",
            )


def tinyvirat_rows(size: float) -> Iterator[DownloadRow]:
    """Rows of `size` times TinyVIRAT's clips: label sets of one to four of 26 labels, few of them frequent."""
    rng = random.Random(0)
    labels = [f"activity {number}" for number in range(26)]
    sets = list(
        dict.fromkeys(tuple(sorted(rng.sample(labels, rng.choice((1, 1, 2, 2, 3, 4))))) for _ in range(4 * LABEL_SETS))
    )
    sets = sorted({(label,) for label in labels} | set(sets[:LABEL_SETS]))
    rng.shuffle(sets)
    weights = [1 / (rank + 4) for rank in range(len(sets))]
    for number in range(round(TINYVIRAT_CLIPS * size)):
        split = "train" if number % 5 < 3 else "test"
        yield DownloadRow(
            clip_id=f"tinyvirat-{split}-{number:05d}",
            source="tinyvirat",
            video_id=f"VIRAT_S_{rng.randrange(118):06d}",
            official_split=split,
            labels=rng.choices(sets, weights)[0],
            rank=number,
            path="raw.mp4",
            bytes=0,
            sha256="",
        )


def write_filmstrip(annotated: DownloadRow, root: Path) -> ResizeRow:
    """Write the filmstrip of one clip, a blurred pattern of its own that drifts; returns its row."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(int(hashlib.sha256(annotated.clip_id.encode()).hexdigest()[:12], 16))
    pattern = cv2.resize(rng.integers(0, 256, (9, 24, 3), dtype=np.uint8), (163, 64), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([pattern[:, tick : tick + 64] for tick in range(100)]).astype(np.uint8)
    data = filmstrip.encode(frames, format="jpg", quality=90)
    valid_frames = 100 if annotated.source == "kinetics400" else 15 + int(rng.integers(35))
    measured = quality.measure(frames[:valid_frames])
    path = Path("data/filmstrips", annotated.source, f"{annotated.clip_id}.jpg")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)
    return ResizeRow(
        clip_id=annotated.clip_id,
        source=annotated.source,
        key=annotated.clip_id,
        path=str(path),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        valid_frames=valid_frames,
        motion=measured.motion,
        sharpness=measured.sharpness,
        brightness=measured.brightness,
        fingerprint=measured.fingerprint,
    )


def set_up_dvc(root: Path) -> None:
    """Write the part of dvc.yaml that starts with merge, in a Git repository of its own."""
    stages = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: stages[name] for name in STAGES}}))
    shutil.copy(REPO / ".dvcignore", root)
    shutil.copy(REPO / "manifests/excluded.csv", root / "manifests")
    shutil.rmtree(root / "data/shards")
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True)
    settings = ["config", "cache.type", "reflink,hardlink,symlink"]
    subprocess.run([sys.executable, "-m", "dvc", *settings], cwd=root, check=True)


def measure(root: Path, command: Sequence[str]) -> Run:
    """Run a command in `root`.

    Raises:
        SystemExit: it failed.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(root), "PATH": path}
    measured = [sys.executable, "-S", "-c", _MEASURE, *command]
    done = subprocess.run(measured, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        raise SystemExit(f"{json.dumps(command)} failed:\n{done.stdout}")
    text, _, memory = done.stdout.rpartition("\n")
    return Run(seconds, int(memory) / 1024, f"{text}\n" if text else "")


if __name__ == "__main__":
    main()
