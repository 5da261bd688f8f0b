"""Which of Kinetics-400's clips are wanted: any of each class up to a quota, or exactly those of a few-shot subset."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pipeline.params import Download
from pipeline.sources.clips import Annotation
from pipeline.sources.kinetics400.annotations import AnnotatedClips, Subset, read_clips, read_lists
from pipeline.sources.kinetics400.quotas import ClassQuotas, even_quotas
from pipeline.sources.kinetics400.subsets import join

if TYPE_CHECKING:
    from pipeline.fetch.hosts import Hosts


class Selection(Protocol):
    """A choice of clips."""

    def read(self, hosts: "Hosts", splits: Sequence[str], source: str) -> AnnotatedClips:
        """The clips to choose from. Raises WorkError if a list cannot be read."""

    def quotas(self, clips: AnnotatedClips) -> ClassQuotas:
        """How many of them each class is to have, with none recorded yet."""


@dataclass(frozen=True)
class EvenSelection:
    """`download.kinetics_clips` clips, spread evenly over the classes, and a reserve; those of `subset` before others."""

    subset: Subset
    settings: Download

    def read(self, hosts: "Hosts", splits: Sequence[str], source: str) -> AnnotatedClips:
        """See `Selection`."""
        return read_clips(hosts, splits, source, self.subset)

    def quotas(self, clips: AnnotatedClips) -> ClassQuotas:
        """See `Selection`."""
        labels = (clip.labels[0] for clip in clips.usable.values())
        quota = even_quotas(labels, self.settings.kinetics_clips, self.settings.seed)
        return ClassQuotas(clips.usable, quota, self.settings.reserve_per_class)


@dataclass(frozen=True)
class ExactSelection:
    """The clips `listed`, by clip_id, and no others in their place: a clip that cannot be had is a gap."""

    listed: Mapping[str, Annotation]

    def read(self, hosts: "Hosts", splits: Sequence[str], source: str) -> AnnotatedClips:
        """See `Selection`."""
        return join(self.listed, read_lists(hosts, splits, source), source)

    def quotas(self, clips: AnnotatedClips) -> ClassQuotas:
        """See `Selection`."""
        quota = Counter(clip.labels[0] for clip in clips.usable.values())
        quota.update(row.labels[0] for row in clips.others)
        return ClassQuotas(clips.usable, quota, reserve=0)
