"""Fight or no fight on real surveillance video, by stage 2's recipe: pre-trained, from scratch, and beside nearest neighbours.

Needs SHARED_DATA. The videos pass through the project's own pipeline as a source of kind `folder`. Clips whose backgrounds
correlate are taken for one recording, and each fold holds out about a fifth of the clips, whole recordings of both classes.
Networks are pre-trained and trained on the others. Nearest neighbours are measured by other foldings too. An interrupted run
goes on where it stopped.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from benchmarks.labelled import differences, file_number, first_frame, labelled_videos, number_blocks, write_shards
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
_SAME_BACKGROUND = 0.9  # correlation of two clips' backgrounds from which they count as one recording
_PICTURES: dict[str, Callable[[Tensor], Tensor]] = {"first frame": first_frame, "frame differences": differences}


def main() -> None:
    """Write the shards, train on every fold, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "fights", help="of the shards and networks"
    )
    parser.add_argument("--pretrain-steps", type=int, default=150)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--controls", action="store_true", help="only nearest neighbours, without any training")
    arguments = parser.parse_args()
    section = Params("sample", dict(read(SECTIONS).raw))
    loader, stage = section.section("loader", Loader), section.section("stage2", Stage2)
    stage = replace(
        stage,
        loss="cross_entropy",
        validation=0.0,
        pretrain=replace(stage.pretrain, steps=arguments.pretrain_steps, validations=0),
        finetune=replace(stage.finetune, steps=arguments.steps, validations=0),
    )
    write_shards(arguments.folder, "fights", labelled_videos("surv_fight2"))
    with contextlib.chdir(arguments.folder):
        clips = Clips()
        rows = [replace(clip, tinyvirat_labels=(clip.class_name,)) for clip in clips.rows]
        recordings = group_recordings(clips, rows)
        print(f"\n{describe_machine()}, {describe_recordings(recordings, rows)}\n")
        foldings = {
            "recordings": recording_folds(recordings),
            "numbers": number_folds(rows),
            "random": random_folds(rows),
        }
        print_controls(clips, rows, foldings)
        if not arguments.controls:
            folds = foldings["recordings"]
            hits = [_fold(stage, loader, clips, rows, folds, number) for number in range(_FOLDS)]
            print(f"\n{_FOLDS} folds, {arguments.pretrain_steps} + {arguments.steps} steps\n")
            _print_accuracies({name: [fold[name] for fold in hits] for name in hits[0]})


def group_recordings(clips: Clips, rows: list[Clip]) -> Tensor:
    """The recording of each clip, (N,), by a clip of it: those are joined whose backgrounds, medians over time, correlate."""
    backgrounds = torch.stack(
        [clips[clip.clip_id][: clip.valid_frames].median(0).values.flatten().float() for clip in rows]
    )
    return join_similar(torch.corrcoef(backgrounds) > _SAME_BACKGROUND)


def join_similar(similar: Tensor) -> Tensor:
    """The connected components of a symmetric relation (N, N) bool: for each member the lowest one of its component, (N,)."""
    found = torch.arange(len(similar))
    reached = similar | torch.eye(len(similar), dtype=torch.bool)
    while True:
        lowest = torch.where(reached, found, len(found)).amin(1)
        if torch.equal(lowest, found):
            return found
        found = lowest


def describe_recordings(recordings: Tensor, rows: list[Clip]) -> str:
    """Their number, and how many have clips of both classes, in one line."""
    names = [{rows[int(n)].class_name for n in (recordings == one).nonzero()} for one in recordings.unique()]
    both = sum(len(classes) > 1 for classes in names)
    return f"{len(rows)} clips of {len(names)} recordings, {both} of which have clips of both classes"


def recording_folds(recordings: Tensor) -> Tensor:
    """The fold of each clip, (N,): recordings as a whole, the largest first, each to the fold with the fewest clips so far."""
    folds = torch.zeros(len(recordings), dtype=torch.long)
    sizes = [0] * _FOLDS
    names, counts = recordings.unique(return_counts=True)
    order = torch.randperm(len(names), generator=Generator().manual_seed(0))
    for place in sorted(order.tolist(), key=lambda place: -int(counts[place])):
        fold = sizes.index(min(sizes))
        folds[recordings == names[place]] = fold
        sizes[fold] += int(counts[place])
    return folds


def number_folds(rows: list[Clip]) -> Tensor:
    """The fold of each clip, (N,): a class's clips, in the order of their file numbers, in fifths."""
    return number_blocks(torch.tensor([file_number(clip) for clip in rows]), _class_numbers(rows), _FOLDS)


def random_folds(rows: list[Clip]) -> Tensor:
    """The fold of each clip, (N,), at random."""
    return torch.randperm(len(rows), generator=Generator().manual_seed(0)) % _FOLDS


def print_controls(clips: Clips, rows: list[Clip], foldings: Mapping[str, Tensor]) -> None:
    """Print the accuracy of nearest neighbours by each folding."""
    truth, table = _class_numbers(rows), []
    for name, picture in _PICTURES.items():
        seen = torch.stack([picture(clips[clip.clip_id]) for clip in rows])
        distances = torch.cdist(seen, seen)
        cells = []
        for folds in foldings.values():
            allowed = distances.masked_fill(folds[:, None] == folds, torch.inf)
            mean, ci95 = mean_ci95(truth[allowed.argmin(1)] == truth)
            cells.append(f"{mean:.1%} ± {ci95:.1%}")
        table.append([f"nearest neighbour, {name}", *cells])
    print(markdown_table(["classifier", *(f"folds {name}" for name in foldings)], table))


def _class_numbers(rows: list[Clip]) -> Tensor:
    return torch.tensor([clip.class_id for clip in rows])


def _fold(
    stage: Stage2, loader: Loader, clips: Clips, rows: list[Clip], folds: Tensor, number: int
) -> dict[str, Tensor]:
    """Which test clips of a fold each network recognises, (n,) bool by its name."""
    held = (folds == number).tolist()
    train, test = ([clip for clip, out in zip(rows, held, strict=True) if out is wanted] for wanted in (False, True))
    recognition = Recognition(stage, loader, clips, train, test)
    truth = recognition.labels.first(recognition.test.rows)
    digest = fingerprint(stage, data_fingerprint(), folds.tolist(), number)
    hits = {}
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


def _print_accuracies(hits: Mapping[str, list[Tensor]]) -> None:
    """Print which clips are recognised, by fold, as accuracies."""
    table = []
    for name, parts in hits.items():
        mean, ci95 = mean_ci95(torch.cat(parts))
        by_fold = " ".join(f"{float(part.double().mean()):.2f}" for part in parts)
        table.append([name, f"{mean:.1%} ± {ci95:.1%}", by_fold])
    print(markdown_table(["classifier", "accuracy", "by fold"], table))


if __name__ == "__main__":
    main()
