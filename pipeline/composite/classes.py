"""Class rules: from the labels of clips to classes, and from classes to class ids."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.composite import labels
from pipeline.composite.clip import Clip
from pipeline.params import Merge


@dataclass(frozen=True)
class ClassName:
    """A class before it has an id."""

    source: str
    name: str
    member_labels: tuple[str, ...]


def normalise_labels(clips: Sequence[Clip], aliases: Mapping[str, str]) -> list[Clip]:
    """The clips with one spelling per label; spellings are compared within each source."""
    names = {
        source: labels.class_names((label for clip in clips if clip.source == source for label in clip.labels), aliases)
        for source in {clip.source for clip in clips}
    }
    return [
        dataclasses.replace(clip, labels=tuple(names[clip.source][label] for label in clip.labels)) for clip in clips
    ]


def count_label_sets(clips: Sequence[Clip], settings: Merge) -> int:
    """How many of the most frequent label sets become classes: `label_sets`, unless `expected_classes` needs fewer.

    A clip that contains no kept set makes a class of its first label. Where the number of classes is fixed, one set
    less is kept for each of these classes.

    Args:
        clips: of multi-label sources.
    """
    kept = settings.label_sets
    if settings.class_rule == "label_sets" and settings.expected_classes is not None:
        while kept > 1 and len(set(label_set_classes(clips, kept).values())) > settings.label_sets:
            kept -= 1
    return kept


def assign_classes(
    clips: Iterable[Clip], multi_label: Collection[str], settings: Merge, kept: int
) -> dict[str, ClassName]:
    """The class of each clip, by clip_id.

    Args:
        multi_label: sources to which `merge.class_rule` applies; in the others a clip's class is its first label.
        kept: number of label sets that become classes.
    """
    clips = list(clips)
    names = {clip.clip_id: ClassName(clip.source, clip.labels[0], clip.labels[:1]) for clip in clips}
    by_rule = [clip for clip in clips if clip.source in multi_label]
    if settings.class_rule == "label_sets":
        return names | label_set_classes(by_rule, kept)
    if settings.class_rule == "source_video":
        return names | {clip.clip_id: ClassName(clip.source, clip.video_id, ()) for clip in by_rule}
    return names


def label_set_classes(clips: Sequence[Clip], kept: int) -> dict[str, ClassName]:
    """The class of each multi-label clip, by clip_id: one of the `kept` most frequent label sets.

    A clip with a rarer set joins the most frequent kept set contained in it (ties by name); if there is none, its class
    is its first label.
    """
    sets = {clip.clip_id: tuple(sorted(set(clip.labels))) for clip in clips}
    counts = Counter(sets.values())
    ranked = sorted(counts, key=lambda labels: (-counts[labels], labels))[:kept]
    classes = {}
    for clip in clips:
        members = sets[clip.clip_id]
        if members not in ranked:
            members = next((subset for subset in ranked if set(subset) <= set(members)), clip.labels[:1])
        classes[clip.clip_id] = ClassName(clip.source, " + ".join(members), members)
    return classes


def number_classes(names: Iterable[ClassName], sources: Sequence[str]) -> dict[ClassName, int]:
    """Class ids from 0 without gaps: in the order of `sources`, then of names."""
    ranked = sorted(set(names), key=lambda name: (sources.index(name.source), name.name))
    return {name: number for number, name in enumerate(ranked)}
