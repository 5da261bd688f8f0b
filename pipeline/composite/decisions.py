"""What becomes of each clip that has a filmstrip: its class, whether it is left out and why, whether it is spare."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline.composite import duplicates
from pipeline.composite.classes import ClassName, assign_classes, count_label_sets
from pipeline.composite.clip import Clip
from pipeline.composite.repeats import beyond_quota, find_repeats
from pipeline.composite.where import Condition
from pipeline.params import Merge
from pipeline.records.failures import ClipError, Failure


@dataclass(frozen=True)
class Decisions:
    """The decisions on all clips, by clip_id.

    Args:
        classes: of the clips that are not filtered.
        kept_sets: number of label sets that are classes.
        left_out: repeats, and clips for which `merge.where` is not true, with the reason.
        spare: clips beyond their class's quota.
        duplicate_of: near-duplicates, and the clip that each is like.
    """

    classes: Mapping[str, ClassName]
    kept_sets: int
    left_out: Mapping[str, ClipError]
    spare: Collection[str]
    duplicate_of: Mapping[str, str]

    @property
    def kept(self) -> list[str]:
        """The clips of the composite."""
        return [clip_id for clip_id in self.classes if clip_id not in self.left_out and clip_id not in self.spare]


def decide(
    clips: Sequence[Clip],
    settings: Merge,
    condition: Condition | None = None,
    *,
    multi_label: Collection[str],
    youtube: Collection[str],
) -> Decisions:
    """Decide on all clips; equal whatever their order.

    Filtered clips are as if they had never been: they fill no quota and no label set. Repeats are found before, because the label
    of content that has two labels cannot be trusted, whichever of its clips is filtered.

    Args:
        clips: with one spelling per label.
        condition: `merge.where`.
        multi_label: sources to which `merge.class_rule` applies.
        youtube: sources whose `video_id` is that of a YouTube video.
    """
    classes, kept_sets = _assign(clips, multi_label, settings)
    left_out = find_repeats(clips, classes, youtube)
    distinct = [clip for clip in clips if clip.clip_id not in left_out]
    spare = beyond_quota(distinct, classes)
    duplicate_of = _near_duplicates(clips, left_out.keys(), spare, settings.near_duplicates)
    if condition is None:
        return Decisions(classes, kept_sets, left_out, spare, duplicate_of)
    filtered = _filter(distinct, condition, duplicate_of)
    classes, kept_sets = _assign([clip for clip in clips if clip.clip_id not in filtered], multi_label, settings)
    spare = beyond_quota([clip for clip in distinct if clip.clip_id not in filtered], classes)
    return Decisions(classes, kept_sets, left_out | filtered, spare, duplicate_of)


def _assign(clips: Sequence[Clip], multi_label: Collection[str], settings: Merge) -> tuple[dict[str, ClassName], int]:
    kept_sets = count_label_sets([clip for clip in clips if clip.source in multi_label], settings)
    return assign_classes(clips, multi_label, settings, kept_sets), kept_sets


def _near_duplicates(
    clips: Sequence[Clip], left_out: Collection[str], spare: Collection[str], max_distance: int | None
) -> dict[str, str]:
    """Near-duplicates; of clips that are alike, one of the composite comes first, then the earliest arrival."""
    if max_distance is None:
        return {}
    order = sorted(clips, key=lambda clip: (clip.clip_id in left_out, clip.clip_id in spare, clip.arrival))
    fingerprints = {clip.clip_id: clip.fingerprint for clip in order if clip.fingerprint is not None}
    return duplicates.first_of_each(fingerprints, max_distance)


def _filter(clips: Sequence[Clip], condition: Condition, duplicate_of: Mapping[str, str]) -> dict[str, ClipError]:
    """The clips for which the condition is not true, with the values that decide."""
    known = [dataclasses.replace(clip, duplicate_of=duplicate_of.get(clip.clip_id)) for clip in clips]
    return {clip.clip_id: ClipError(Failure.FILTERED, condition.explain(clip)) for clip in condition.failing(known)}
