"""How far fingerprints of different clips are apart, and those of copies from their originals.

Reads project folders that `resize` has run in: all pairs of their filmstrips, and copies of a few clips, encoded again by ffmpeg.
"""

import argparse
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.measure import markdown_table
from pipeline import params
from pipeline.composite.duplicates import as_words, distances
from pipeline.params import PipelineParams
from pipeline.records.failures import ClipError
from pipeline.records.rows import TrimRow
from pipeline.resample import resample
from pipeline.resize import resize
from pipeline.video import filmstrip, quality

COPIES: Mapping[str, Sequence[str]] = {
    "same size, crf 30": ("-crf", "30"),
    "brighter, more contrast, crf 26": ("-vf", "eq=brightness=0.06:contrast=1.15", "-crf", "26"),
    "half the size, crf 30": ("-vf", "scale=trunc(iw/4)*2:trunc(ih/4)*2", "-crf", "30"),
    "0.7 of the size, 25 frames a second, crf 26": (
        *("-vf", "scale=trunc(iw*0.35)*2:trunc(ih*0.35)*2"),
        *("-r", "25", "-crf", "26"),
    ),
    "4% cropped, crf 23": ("-vf", "crop=trunc(iw*0.48)*2:trunc(ih*0.48)*2", "-crf", "23"),
}
_NEAREST = 4  # pairs that are printed


def main() -> None:
    """Print the nearest pairs and the table of copies for each project folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("--copies", type=int, default=25, help="clips of each project that are copied")
    arguments = parser.parse_args()
    for project in arguments.projects:
        os.chdir(project.resolve())
        settings = params.load()
        rows = [row for row in pq.read_table("manifests/resize.parquet").to_pylist() if row["status"] == "ok"]
        prints = _fingerprints(rows, settings.resize.size)
        pairs = len(prints) * (len(prints) - 1) // 2
        print(f"{project}: {len(prints):,} clips with a fingerprint, {pairs:,} pairs; the nearest:")
        print("\n".join(f"  {bits} bits  {one}  {other}" for bits, one, other in nearest(prints)))
        limit = settings.merge.near_duplicates
        trimmed = [row for row in pq.read_table("manifests/trim.parquet").to_pylist() if row["status"] == "ok"]
        chosen = random.Random(1).sample(trimmed, min(arguments.copies, len(trimmed)))
        found = dict(_copies(chosen, settings))
        lines = [
            [name, str(len(bits)), f"{np.median(bits):g}", str(sum(value <= (limit or 0) for value in bits))]
            for name, bits in found.items()
            if bits
        ]
        print(markdown_table(["copy", "clips", "median of bits", f"within {limit}"], lines))


def nearest(fingerprints: Mapping[str, str]) -> list[tuple[int, str, str]]:
    """The pairs with the least distances: bits and clip ids."""
    ids, words = list(fingerprints), as_words(fingerprints.values())
    best: list[tuple[int, str, str]] = []
    for number in range(1, len(ids)):
        bits: NDArray[np.uint16] = distances(words[number : number + 1], words[:number])[0]
        closest = np.argsort(bits, kind="stable")[:_NEAREST]
        best = sorted([*best, *((int(bits[place]), ids[place], ids[number]) for place in closest)])[:_NEAREST]
    return best


def _fingerprints(rows: Sequence[Mapping[str, Any]], size: int) -> dict[str, str]:
    found = {}
    for row in tqdm(rows, unit="clip", disable=None):
        frames = filmstrip.decode(Path(row["path"]).read_bytes(), size)[: row["valid_frames"]]
        fingerprint = quality.measure(frames).fingerprint
        if fingerprint is not None:
            found[row["clip_id"]] = fingerprint
    return found


def _copies(rows: Sequence[Mapping[str, Any]], settings: PipelineParams) -> Iterator[tuple[str, list[int]]]:
    """The bits between each clip and its copy, by kind of copy."""
    files = [TrimRow(**{**row, "path": str(Path(row["path"]).resolve())}) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where resize writes
        originals = [_process(file, settings) for file in files]
        for name, options in COPIES.items():
            bits = []
            for file, original in zip(files, originals, strict=True):
                command = [get_ffmpeg_exe(), "-v", "error", "-y", "-i", file.path, "-an", "-preset", "veryfast"]
                subprocess.run([*command, *options, "copy.mkv"], check=True, stdin=subprocess.DEVNULL)
                copy = _process(replace(file, path="copy.mkv"), settings)
                if original is not None and copy is not None:
                    bits.append((int(original, 16) ^ int(copy, 16)).bit_count())
            yield name, bits
        os.chdir("/")


def _process(row: TrimRow, settings: PipelineParams) -> str | None:
    """The fingerprint of a clip; None if it cannot be read or has none."""
    try:
        return resize(resample(row, settings.resample), settings.resize).fingerprint
    except ClipError:
        return None


if __name__ == "__main__":
    main()
