"""Which clips of an archive are kept, so that every class gets its quota of healthy clips and a reserve."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from pipeline.runner.ledger import digest
from pipeline.sources.clips import Annotation


def even_quotas(labels: Iterable[str], clips: int, seed: int) -> dict[str, int]:
    """`clips` spread evenly over the classes; which classes get one more is drawn by `seed`."""
    classes = sorted(set(labels))
    each, remainder = divmod(clips, max(1, len(classes)))
    larger = set(random.Random(f"quota-{seed}").sample(classes, remainder)) if classes else set()
    return {label: each + (label in larger) for label in classes}


class ClassQuotas:
    """Counts the healthy clips of each class and selects the clips that are still needed.

    Args:
        clips: all clips with one label, by clip_id.
        quota: clips wanted, by class.
        reserve: clips wanted beyond the quota, per class.
    """

    def __init__(self, clips: Mapping[str, Annotation], quota: Mapping[str, int], reserve: int) -> None:
        self.clips, self.quota, self.reserve = clips, quota, reserve
        self._tried: set[str] = set()
        self._healthy: Counter[str] = Counter()
        # A class that MiniKinetics-200 can fill alone is filled from MiniKinetics-200.
        in_mini = Counter(clip.labels[0] for clip in clips.values() if clip.in_minikinetics200)
        self._mini_only = {label for label in quota if in_mini[label] >= 2 * (quota[label] + reserve)}
        self._untried = Counter((clip.labels[0], clip.official_split) for clip in clips.values())

    def need(self, split: str) -> bool:
        """Whether archives of a split may have a clip that is needed: one not tried, of a class that lacks clips."""
        untried = self._untried  # a clip on no list may be in the archives of any split
        return any(self._needed(label) > 0 and (untried[label, split] or untried[label, None]) for label in self.quota)

    def new_selection(self) -> Callable[[str], bool]:
        """A function that decides for each clip of one archive, by clip_id and in order, whether to keep it."""
        selected: set[str] = set()
        counts: Counter[str] = Counter()

        def select(clip_id: str) -> bool:
            clip = self.clips.get(clip_id)
            if clip is None or clip_id in selected or clip_id in self._tried:
                return False
            label = clip.labels[0]
            if label in self._mini_only and not clip.in_minikinetics200:
                return False
            if counts[label] >= self._needed(label):
                return False
            counts[label] += 1
            selected.add(clip_id)
            return True

        return select

    def select(self, clip_ids: Iterable[str]) -> list[str]:
        """The clips of one archive that are kept, in its order."""
        select = self.new_selection()
        return [clip_id for clip_id in clip_ids if select(clip_id)]

    def record(self, clip_id: str, *, healthy: bool) -> None:
        """Count a clip that was fetched, or that failed; it is not selected again."""
        clip = self.clips[clip_id]
        self._untried[clip.labels[0], clip.official_split] -= clip_id not in self._tried
        self._tried.add(clip_id)
        self._healthy[clip.labels[0]] += healthy

    def candidates(self) -> list[Annotation]:
        """Clips that were not tried yet, as many as each class needs: MiniKinetics-200's first, the rest in fixed random order."""
        left = {label: self._needed(label) for label in self.quota}
        untried = [clip for clip in self.clips.values() if left[clip.labels[0]] > 0 and clip.clip_id not in self._tried]
        untried.sort(key=lambda clip: (not clip.in_minikinetics200, digest(clip.clip_id)))
        chosen = []
        for clip in untried:
            if left[clip.labels[0]] > 0:
                left[clip.labels[0]] -= 1
                chosen.append(clip)
        return chosen

    def shortage(self) -> dict[str, int]:
        """How many clips each class lacks of its quota, largest first; full classes are left out."""
        lacking = {label: count - self._healthy[label] for label, count in self.quota.items()}
        return {label: n for label, n in sorted(lacking.items(), key=lambda item: (-item[1], item[0])) if n > 0}

    def _needed(self, label: str) -> int:
        return self.quota[label] + self.reserve - self._healthy[label]
