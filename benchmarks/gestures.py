"""Few-shot recognition of real hand gestures: the heads of stage 3 on a masked autoencoder, beside trivial classifiers.

Needs SHARED_DATA. The videos, hands drawn as skeletons on black, pass through the project's own pipeline as a source of kind
`folder`. Splits hold out 4 of the 12 classes, or 5. On the others an autoencoder is pre-trained, a frame-wise embedding of its
tokens learns to classify them, and heads learn from their episodes. All are measured in the same episodes of the held-out classes,
in which the clips of a class are of different blocks of file numbers, because neighbouring files may show one person.
An interrupted run goes on where it stopped.
"""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor

from benchmarks.block_episodes import BlockEpisodes, NearestNeighbourHead, class_splits
from benchmarks.centred import CentredWindows
from benchmarks.gesture_networks import (
    BATCH,
    SHOTS,
    SIZE,
    VERSION,
    Settings,
    Split,
    class_numbers,
    method_scores,
)
from benchmarks.labelled import differences, file_number, first_frame, labelled_videos, number_blocks, write_shards
from benchmarks.measure import describe_machine, markdown_table
from common.files import write_json
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.checkpoints import data_fingerprint, fingerprint
from training.engine.statistics import mean_ci95
from training.fewshot.head import Head
from training.fewshot.heads import HEADS
from training.fewshot.predict import accuracies, predict
from training.fewshot.protonet import PrototypeHead

_BLOCKS = 8  # of file numbers, in a class
_EPISODES = 2  # version of how they are drawn


def main() -> None:
    """Write the shards, train and measure on every split, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "gestures", help="of the shards and networks"
    )
    parser.add_argument("--ways", type=int, nargs="+", choices=(4, 5), default=[4, 5])
    parser.add_argument(
        "--splits", type=int, default=3, choices=(1, 2, 3), help="of the classes; three test every class"
    )
    for name in ("pretrain_steps", "embedding_steps", "head_steps", "episodes"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Settings, name))
    arguments = parser.parse_args()
    settings = Settings(arguments.pretrain_steps, arguments.embedding_steps, arguments.head_steps, arguments.episodes)
    write_shards(arguments.folder, "gestures", labelled_videos("gesture12"))
    torch.set_num_threads(1)
    with contextlib.chdir(arguments.folder):
        clips = Clips()
        for way in arguments.ways:
            found = [_measured(clips, way, number, settings) for number in range(arguments.splits)]
            print(f"\n{describe_machine()}, {len(clips)} clips, {way}-way, {len(found)} splits of the classes\n")
            print_table(found)


def _measured(clips: Clips, way: int, number: int, settings: Settings) -> dict[str, Tensor]:
    """Accuracy of every classifier in each episode of a split, after 1 and 5 shots, (episodes, 2) by its name."""
    names = sorted({clip.class_name for clip in clips.rows})
    held = {names[position] for position in class_splits(len(names), way, settings.seed)[number]}
    name = f"{way}way{number}"
    rows = [tuple(clip for clip in clips.rows if (clip.class_name in held) is out) for out in (False, True)]
    digest = fingerprint(VERSION, _EPISODES, settings, data_fingerprint(), sorted(held), sorted(HEADS))
    path = Path("results", f"{name}.json")
    if path.exists() and (stored := json.loads(path.read_text()))["fingerprint"] == digest:
        return {key: torch.tensor(values) for key, values in stored["accuracies"].items()}
    found = measure(clips, Split(name, way, *rows), settings)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"fingerprint": digest, "accuracies": {key: values.tolist() for key, values in found.items()}})
    return found


def measure(clips: Clips, split: Split, settings: Settings) -> dict[str, Tensor]:
    """See `_measured`."""
    classes, numbers = class_numbers(split.test), torch.tensor([file_number(clip) for clip in split.test])
    sampler = BlockEpisodes(classes, number_blocks(numbers, classes, _BLOCKS), max(SHOTS) + 1)
    episodes = sampler.draw(settings.episodes, Generator().manual_seed(settings.seed))

    def score(head: Head, embedded: Tensor) -> Tensor:
        by_round = accuracies(predict(head.eval(), embedded, episodes, split.way), episodes)
        return by_round[:, list(SHOTS)]

    found = {}
    whole = ClipWindows(clips, split.test, frames=settings.frames, stride=1)
    centred = CentredWindows(clips, split.test, frames=settings.frames, size=SIZE)
    for name, data in (("", whole), (", around the hand", centred)):
        frames = torch.cat([data.even_windows(index, 0, 1) for index in data.batches(BATCH)])
        for picture, pixels in (
            ("first frame", first_frame(frames)),
            ("frame differences", _in_parts(differences, frames)),
        ):
            found[f"nearest neighbour, {picture}{name}"] = score(NearestNeighbourHead(), pixels)
            found[f"nearest mean, {picture}{name}"] = score(PrototypeHead(), pixels)
    found |= method_scores(clips, split, settings, score)
    print(f"{split.name}: " + ", ".join(f"{name} {float(values[:, 1].mean()):.2f}" for name, values in found.items()))
    return found


def _in_parts(change: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    return torch.cat([change(part) for part in frames.split(BATCH)])


def print_table(splits: Sequence[Mapping[str, Tensor]]) -> None:
    """Print accuracies with intervals, differences from the better control in the same episodes, and whether twice it is met."""
    joined = {name: torch.cat([split[name] for split in splits]) for name in splits[0]}
    means = {name: float(values[:, 1].mean()) for name, values in joined.items()}
    controls = [name for name in joined if name.startswith("nearest ") and "around" not in name]
    control = max(controls, key=means.__getitem__)
    rows = []
    for name, values in joined.items():
        one, five, gain = (
            mean_ci95(values[:, 0]),
            mean_ci95(values[:, 1]),
            mean_ci95(values[:, 1] - joined[control][:, 1]),
        )
        by_split = " ".join(f"{float(split[name][:, 1].mean()):.2f}" for split in splits)
        difference = "" if name == control else f"{100 * gain[0]:+.1f} ± {100 * gain[1]:.1f}"
        rows.append([name, f"{one[0]:.1%} ± {one[1]:.1%}", f"{five[0]:.1%} ± {five[1]:.1%}", difference, by_split])
    print(markdown_table(["classifier", "1-shot", "5-shot", "5-shot less the control", "5-shot by split"], rows))
    best = max((name for name in joined if not name.startswith("nearest ")), key=means.__getitem__)
    ratio = means[best] / means[control]
    print(f"\nbest: {best}, {ratio:.2f}x {control}; target >= 2x: {'met' if ratio >= 2 else 'missed'}")


if __name__ == "__main__":
    main()
