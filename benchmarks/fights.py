"""Fight or no fight on real surveillance video, by stage 2's recipe: pre-trained, from scratch, and beside nearest neighbours.

Needs SHARED_DATA. The videos pass through the project's own pipeline as a source of kind `folder`. Each fold holds out a
fifth of each class by file number, because neighbouring files may be cut from one recording. Networks are pre-trained and
trained on the other four. An interrupted run goes on where it stopped.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from benchmarks.measure import describe_machine, markdown_table
from common.params import Params, read
from common.sections import SECTIONS
from training.clips import Clip, Clips
from training.engine.checkpoints import Run, data_fingerprint, fingerprint
from training.engine.classification import classify
from training.engine.recognition import Recognition
from training.engine.statistics import mean_ci95
from training.params import Loader, Stage2

_FOLDS = 5
_STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard")


def main() -> None:
    """Write the shards, train on every fold, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "fights", help="of the shards and networks"
    )
    parser.add_argument("--pretrain-steps", type=int, default=150)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    if "SHARED_DATA" not in os.environ:
        sys.exit("SHARED_DATA is not set: it names the folder with labelled/surv_fight2")
    raw = dict(read(SECTIONS).raw)
    section = Params("sample", raw)
    loader, stage = section.section("loader", Loader), section.section("stage2", Stage2)
    stage = replace(
        stage,
        loss="cross_entropy",
        validation=0.0,
        pretrain=replace(stage.pretrain, steps=arguments.pretrain_steps, validations=0),
        finetune=replace(stage.finetune, steps=arguments.steps, validations=0),
    )
    _write_shards(arguments.folder, raw)
    with contextlib.chdir(arguments.folder):
        clips = Clips()
        rows = [replace(clip, tinyvirat_labels=(clip.class_name,)) for clip in clips.rows]
        hits: dict[str, list[Tensor]] = {}
        for number in range(_FOLDS):
            for name, values in _fold(stage, loader, clips, rows, number).items():
                hits.setdefault(name, []).append(values)
    print(
        f"\n{describe_machine()}, {len(rows)} clips, {_FOLDS} folds, {arguments.pretrain_steps} + {arguments.steps} steps\n"
    )
    table = []
    for name, parts in hits.items():
        mean, ci95 = mean_ci95(torch.cat(parts))
        table.append(
            [name, f"{mean:.1%} ± {ci95:.1%}", " ".join(f"{float(part.double().mean()):.2f}" for part in parts)]
        )
    print(markdown_table(["classifier", "accuracy", "by fold"], table))


def fold_of(rows: list[Clip]) -> Tensor:
    """The fold of each clip, (N,): a class's clips, in the order of their ids, in fifths."""
    folds = torch.zeros(len(rows), dtype=torch.long)
    for name in {clip.class_name for clip in rows}:
        positions = sorted((n for n, clip in enumerate(rows) if clip.class_name == name), key=lambda n: rows[n].clip_id)
        folds[positions] = torch.arange(len(positions)) * _FOLDS // len(positions)
    return folds


def _fold(stage: Stage2, loader: Loader, clips: Clips, rows: list[Clip], number: int) -> dict[str, Tensor]:
    """Which test clips of a fold each classifier recognises, (n,) bool by its name."""
    held = fold_of(rows) == number
    train, test = (
        [clip for clip, out in zip(rows, held.tolist(), strict=True) if out is wanted] for wanted in (False, True)
    )
    recognition = Recognition(stage, loader, clips, train, test)
    truth = recognition.labels.first(recognition.test.rows)
    known = recognition.labels.first(recognition.train.rows)
    digest = fingerprint(stage, data_fingerprint(), number)
    hits = {}
    for name, picture in (
        ("nearest neighbour, first frame", first_frame),
        ("nearest neighbour, frame differences", differences),
    ):
        seen, unseen = (
            torch.stack([picture(clips[clip.clip_id]) for clip in part.rows])
            for part in (recognition.train, recognition.test)
        )
        hits[name] = known[torch.cdist(unseen, seen).argmin(1)] == truth
    autoencoder, _ = recognition.pretrain(Run(f"fold{number}/autoencoder", digest, stage.seed))
    for name, start in (("from scratch", recognition.new_autoencoder()), ("pre-trained", autoencoder)):
        run = Run(f"fold{number}/{name.replace(' ', '_')}", digest, stage.seed)
        model, _ = recognition.finetune(run, start, masked=False)
        guess = recognition.labels.scores(classify(model, recognition.test, None, stage.seed)).argmax(1)
        hits[f"stage 2's recipe, {name}"] = guess == truth
    print(
        f"fold {number + 1}: "
        + ", ".join(f"{name} {float(values.double().mean()):.2f}" for name, values in hits.items())
    )
    return hits


def first_frame(clip: Tensor) -> Tensor:
    """(T, S, S, 3) uint8 -> the pixels of the first frame, (S * S * 3,)."""
    return clip[0].flatten().float()


def differences(clip: Tensor) -> Tensor:
    """(T, S, S, 3) uint8 -> absolute differences of successive frames, averaged over time, (S * S * 3,)."""
    frames = clip.float()
    return (frames[1:] - frames[:-1]).abs().mean(0).flatten()


def _write_shards(folder: Path, raw: Mapping[str, Any]) -> None:
    """Run the data stages on the videos in `folder`, or continue them."""
    folder.mkdir(parents=True, exist_ok=True)
    source = {
        "fights": {"kind": "folder", "root": str(Path(os.environ["SHARED_DATA"], "labelled/surv_fight2").resolve())}
    }
    changed = {
        **raw,
        "corpus": "full",
        "sources": source,
        "merge": raw["merge"] | {"expected_classes": None},
        "split": raw["split"] | {"expected": None, "target_clips": None},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    for stage in _STAGES:
        environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
        subprocess.run([sys.executable, "-m", "pipeline", stage], cwd=folder, check=True, env=environment)


if __name__ == "__main__":
    main()
