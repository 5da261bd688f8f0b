"""Which clips are taken as they come by, so that every class gets its quota and a reserve, and what became of them."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from pipeline.runner.ledger import digest
from pipeline.sources.clips import Annotation, Fetched


def quotas(labels: Iterable[str], clips: int, seed: int) -> dict[str, int]:
    """`clips` spread evenly over the classes; which classes get one more is drawn by `seed`."""
    classes = sorted(set(labels))
    each, extra = divmod(clips, max(1, len(classes)))
    lucky = set(random.Random(f"quota-{seed}").sample(classes, extra)) if classes else set()
    return {label: each + (label in lucky) for label in classes}


class Intake:
    """Which clips of a part are kept, and what has become of those kept so far."""

    def __init__(self, clips: dict[str, Annotation], quota: dict[str, int], reserve: int) -> None:
        self.clips, self.quota, self._reserve = clips, quota, reserve
        self.fetched: dict[str, Fetched] = {}
        self._simulated: set[str] = set()
        self.rank: dict[str, int] = {}
        self._healthy: Counter[str] = Counter()
        # A class that MiniKinetics can fill alone is filled from MiniKinetics.
        in_mini = Counter(clip.labels[0] for clip in clips.values() if clip.in_minikinetics200)
        self._mini_only = {label for label in quota if in_mini[label] >= 2 * (quota[label] + reserve)}

    @property
    def full(self) -> bool:
        """Whether every class has its quota and reserve."""
        return all(self._room(label) <= 0 for label in self.quota)

    def begin(self) -> Callable[[str], bool]:
        """A fresh decision over one part: call it with each clip id in the order of the archive."""
        taken: Counter[str] = Counter()
        chosen: set[str] = set()

        def take(clip_id: str) -> bool:
            clip = self.clips.get(clip_id)
            if clip is None or clip_id in chosen or clip_id in self.fetched or clip_id in self._simulated:
                return False
            label = clip.labels[0]
            if label in self._mini_only and not clip.in_minikinetics200:
                return False
            if taken[label] >= self._room(label):
                return False
            taken[label] += 1
            chosen.add(clip_id)
            return True

        return take

    def choose_all(self, clip_ids: Sequence[str]) -> list[str]:
        """The clips of a part that are kept, in its order."""
        take = self.begin()
        return [clip_id for clip_id in clip_ids if take(clip_id)]

    def settle(self, fetched: Mapping[str, Fetched]) -> None:
        """Record what became of a part's clips."""
        for clip_id, attempt in fetched.items():
            self.fetched[clip_id] = attempt
            self.rank.setdefault(clip_id, len(self.rank))
            self._healthy[self.clips[clip_id].labels[0]] += attempt.outcome.error is None

    def rehearse(self, clip_ids: Sequence[str]) -> int:
        """Take a part's clips as if all of them were healthy; returns how many."""
        chosen = self.choose_all(clip_ids)
        for clip_id in chosen:
            self._simulated.add(clip_id)
            self._healthy[self.clips[clip_id].labels[0]] += 1
        return len(chosen)

    def candidates(self) -> list[Annotation]:
        """Clips not taken yet, as many as their classes lack, MiniKinetics-200's first; the rest in a fixed random order."""
        lacking = [clip for clip in self.clips.values() if self._room(clip.labels[0]) > 0]
        fresh = [clip for clip in lacking if clip.clip_id not in self.fetched]
        fresh.sort(key=lambda clip: (not clip.in_minikinetics200, digest(clip.clip_id)))
        left = {label: self._room(label) for label in self.quota}
        chosen = []
        for clip in fresh:
            if left[clip.labels[0]] > 0:
                left[clip.labels[0]] -= 1
                chosen.append(clip)
        return chosen

    def broken(self) -> list[str]:
        """Clips that came and were no good."""
        return [clip_id for clip_id, attempt in self.fetched.items() if attempt.outcome.error is not None]

    def shortage(self) -> dict[str, int]:
        """Classes below their quota, and by how many clips, worst first."""
        lacking = {label: count - self._healthy[label] for label, count in self.quota.items()}
        return {label: n for label, n in sorted(lacking.items(), key=lambda item: (-item[1], item[0])) if n > 0}

    def _room(self, label: str) -> int:
        return self.quota[label] + self._reserve - self._healthy[label]
