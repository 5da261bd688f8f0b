"""Clips that the composite leaves out: repeated content, repeated seconds of a video, and more than the quota."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations

from pipeline.composite.classes import ClassName
from pipeline.composite.clip import Clip
from pipeline.records.failures import ClipError, Failure

_MOSTLY = 0.5  # share of the shorter clip's seconds from which two clips show the same action


def find_repeats(
    clips: Iterable[Clip], classes: Mapping[str, ClassName], youtube: Collection[str]
) -> dict[str, ClipError]:
    """Clips that repeat another one, by clip_id, with the reason.

    Of clips with equal filmstrips the earliest arrival stays; if their classes differ, none stays, because no label can
    be trusted. Clips of one YouTube video that share seconds are treated alike, and all clips of a video that stay have
    one class, so that no video is in two splits. No new clip (`Clip.is_new`) displaces one that is not.

    Args:
        classes: by clip_id.
        youtube: sources whose `video_id` is that of a YouTube video.
    """
    ordered = sorted(clips, key=lambda clip: clip.arrival)
    repeats: dict[str, ClipError] = {}
    for group in _group_by(ordered, lambda clip: clip.sha256):
        repeats |= _equal_filmstrips(group, classes)
    for group in _group_by((clip for clip in ordered if clip.source in youtube), lambda clip: clip.video_id):
        repeats |= _overlaps([clip for clip in group if clip.clip_id not in repeats], classes)
    return repeats


def beyond_quota(clips: Iterable[Clip], classes: Mapping[str, ClassName]) -> set[str]:
    """Ids of the clips that are left over once the earliest arrivals have filled each class's quota."""
    kept: Counter[ClassName] = Counter()
    spare = set()
    for clip in sorted(clips, key=lambda clip: clip.arrival):
        name = classes[clip.clip_id]
        if clip.quota is not None and kept[name] >= clip.quota:
            spare.add(clip.clip_id)
        else:
            kept[name] += 1
    return spare


def _group_by(clips: Iterable[Clip], key: Callable[[Clip], str]) -> Iterable[list[Clip]]:
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(key(clip), []).append(clip)
    return groups.values()


def _equal_filmstrips(clips: Sequence[Clip], classes: Mapping[str, ClassName]) -> dict[str, ClipError]:
    first, *others = clips
    names = {classes[clip.clip_id] for clip in clips}
    if len(names) > 1:
        error = ClipError(Failure.CONFLICTING_LABEL, f"the same pictures are labelled {_join_names(names)}")
        return {clip.clip_id: error for clip in _new_ones(clips)}
    error = ClipError(Failure.DUPLICATE, f"the same pictures as {first.clip_id}")
    return {clip.clip_id: error for clip in others}


def _overlaps(clips: Sequence[Clip], classes: Mapping[str, ClassName]) -> dict[str, ClipError]:
    """Repeats among the clips of one video, given in the order of their arrival."""
    repeats: dict[str, ClipError] = {}
    for one, other in combinations(clips, 2):
        names = {classes[one.clip_id], classes[other.clip_id]}
        is_new = one.clip_id not in repeats and other.clip_id not in repeats
        if is_new and len(names) > 1 and _overlap(one, other) > _MOSTLY:
            error = ClipError(Failure.CONFLICTING_LABEL, f"the same seconds are labelled {_join_names(names)}")
            repeats |= {clip.clip_id: error for clip in _new_ones((one, other))}
    kept: list[Clip] = []
    for clip in clips:
        if clip.clip_id in repeats:
            continue
        if kept and (name := classes[kept[0].clip_id]) != classes[clip.clip_id]:
            detail = f"of the same video as {kept[0].clip_id}, which is of class {name.name}"
            repeats[clip.clip_id] = ClipError(Failure.DUPLICATE, detail)
        elif shared := next((earlier for earlier in kept if _overlap(earlier, clip)), None):
            repeats[clip.clip_id] = ClipError(Failure.DUPLICATE, f"it shares seconds with {shared.clip_id}")
        else:
            kept.append(clip)
    return repeats


def _new_ones(clips: Sequence[Clip]) -> Sequence[Clip]:
    """The new clips; all clips if all are new, or none is."""
    return [clip for clip in clips if clip.is_new] or clips


def _overlap(one: Clip, other: Clip) -> float:
    """Seconds that two clips of a video share, as a fraction of the shorter one; 0 where the times are unknown."""
    if one.start_s is None or one.end_s is None or other.start_s is None or other.end_s is None:
        return 0.0
    shared = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    shorter = min(one.end_s - one.start_s, other.end_s - other.start_s)
    return max(0.0, shared) / shorter


def _join_names(classes: Iterable[ClassName]) -> str:
    return " and ".join(sorted({name.name for name in classes}))
