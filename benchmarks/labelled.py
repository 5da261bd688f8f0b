"""Labelled videos of SHARED_DATA in shards, by the project's own pipeline, and what trivial classifiers see of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from torch import Tensor

from common.params import read
from common.sections import SECTIONS
from training.clips import Clip

_STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard")


def labelled_videos(name: str) -> Path:
    """The folder labelled/`name` of SHARED_DATA, with a folder of videos for each class.

    Raises:
        SystemExit: it is not there.
    """
    root = Path(os.environ.get("SHARED_DATA", "../shared"), "labelled", name).resolve()
    if not root.is_dir():
        sys.exit(f"{root} is not here: SHARED_DATA names the folder with labelled/{name}")
    return root


def write_shards(folder: Path, source: str, root: Path) -> None:
    """Run the data stages on the videos ROOT/class/clip.ext in `folder`, or continue them.

    Args:
        folder: of the project; its params are those of this folder, but for the source.
        source: its name.
        root: folder of the videos.
    """
    raw = dict(read(SECTIONS).raw)
    folder.mkdir(parents=True, exist_ok=True)
    changed = {
        **raw,
        "corpus": "full",
        "sources": {source: {"kind": "folder", "root": str(root)}},
        "merge": raw["merge"] | {"expected_classes": None},
        "split": raw["split"] | {"by": "random", "expected": None, "target_clips": None},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    for stage in _STAGES:
        subprocess.run([sys.executable, "-m", "pipeline", stage], cwd=folder, check=True, env=environment)


def file_number(clip: Clip) -> int:
    """The last number in the name of the clip's file.

    Raises:
        ValueError: it has none.
    """
    numbers = re.findall(r"\d+", clip.clip_id)
    if not numbers:
        raise ValueError(f"{clip.clip_id} has no number")
    return int(numbers[-1])


def first_frame(clip: Tensor) -> Tensor:
    """(..., T, S, S, 3) uint8 -> the pixels of the first frame, (..., S * S * 3)."""
    return clip[..., 0, :, :, :].flatten(-3).float()


def differences(clip: Tensor) -> Tensor:
    """(..., T, S, S, 3) uint8 -> absolute differences of successive frames, averaged over time, (..., S * S * 3)."""
    frames = clip.float()
    return (frames[..., 1:, :, :, :] - frames[..., :-1, :, :, :]).abs().mean(-4).flatten(-3)


def number_blocks(numbers: Tensor, classes: Tensor, blocks: int) -> Tensor:
    """The block of each clip, (N,): a class's clips, in the order of their file numbers, in `blocks` parts of equal size."""
    found = torch.zeros(len(numbers), dtype=torch.long)
    for number in classes.unique():
        members = (classes == number).nonzero()[:, 0]
        ordered = members[numbers[members].argsort()]
        found[ordered] = torch.arange(len(ordered)) * blocks // len(ordered)
    return found
