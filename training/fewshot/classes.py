"""The training classes of stage 3: those that are trained on, by how many labels, and those that are measured."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from common.errors import ParamError
from training.clips import Clip, Clips
from training.fewshot.episodes import EpisodeSampler
from training.params import Stage3


class TrainingClasses(NamedTuple):
    """Clips of some of the training classes, by their positions in the data."""

    classes: Tensor  # class ids, ascending
    clips: Tensor  # (n,) positions
    numbers: Tensor  # (n,) position of each clip's class in `classes`
    sampler: EpisodeSampler  # draws positions in the data


def training_rows(clips: Clips, settings: Stage3) -> tuple[Clip, ...]:
    """The clips of the training classes, and of the split `val`, where lists give one, if validation classes are measured."""
    validation = clips.select(split="val") if settings.validation_classes else ()
    return (*clips.select(split="train"), *validation)


def split_classes(rows: Sequence[Clip], settings: Stage3) -> tuple[TrainingClasses, TrainingClasses | None]:
    """The classes to train on, and those to measure, which are drawn at random by the seed; None if there are none.

    They are drawn from the split `val` if `rows` have clips of it, and then all classes of the split `train` are trained on.
    Of the clips to train on, `label_share` have labels, see `labelled`; the others are left out.

    Raises:
        ParamError: too few classes of either have enough clips for an episode.
    """
    ids = torch.tensor([clip.class_id for clip in rows])
    classes = ids.unique()
    order = torch.randperm(len(classes), generator=Generator().manual_seed(settings.seed))
    shuffled = classes[order]
    listed = torch.isin(shuffled, torch.tensor([clip.class_id for clip in rows if clip.split == "val"]))
    pool = shuffled[listed] if listed.any() else shuffled
    measured = pool[: settings.validation_classes]
    training = shuffled[~listed] if listed.any() else shuffled[settings.validation_classes :]
    clips = labelled(
        ids, training, settings.label_share, way=settings.way, shots=settings.instances, seed=settings.seed
    )
    found = _select(ids, clips, settings, "")
    if not settings.validation_classes:
        return found, None
    return found, _select(ids, torch.isin(ids, measured).nonzero()[:, 0], settings, "the validation classes: ")


def labelled(ids: Tensor, classes: Tensor, share: float, *, way: int, shots: int, seed: int) -> Tensor:
    """Positions of the clips of `classes` whose labels are known, ascending.

    Labels come in blocks of `shots` clips of a class, the length of an episode: in the order of `classes`, which is random,
    first a block of every class, then another of every class, and so on; within a class the clips are in random order.
    Classes with fewer clips come last. So the labels are of as many classes as have whole episodes, a smaller share is a
    part of a larger one, and no share is below one episode, `way` blocks.

    Args:
        ids: class of each clip, (N,).
        classes: ids of the classes, in random order.
        share: of their clips.
        way: classes of an episode.
        shots: clips of each class in an episode.
        seed: of the order of a class's clips.
    """
    generator = Generator().manual_seed(seed)
    blocks: list[tuple[int, int, Tensor]] = []
    total = 0
    for place, number in enumerate(classes.tolist()):
        clips = (ids == number).nonzero()[:, 0]
        total += len(clips)
        shuffled = clips[torch.randperm(len(clips), generator=generator)]
        first = 0 if len(clips) >= shots else len(ids)
        blocks += [(first + turn, place, block) for turn, block in enumerate(shuffled.split(shots))]
    if not blocks:
        return torch.empty(0, dtype=torch.long)
    ranked = torch.cat([block for _, _, block in sorted(blocks, key=lambda block: block[:2])])
    return ranked[: max(round(share * total), way * shots)].sort().values


def _select(ids: Tensor, clips: Tensor, settings: Stage3, which: str) -> TrainingClasses:
    classes = ids[clips].unique()
    try:
        sampler = EpisodeSampler(ids, settings.way, settings.instances, clips=clips)
    except ValueError as error:
        raise ParamError(f"params.yaml: stage3.way and stage3.instances ask for {which}{error}") from None
    return TrainingClasses(classes, clips, torch.searchsorted(classes, ids[clips]), sampler)
