"""Kinetics-400 as a source: its dry run and its download."""

from common.paths import RAW
from pipeline.records.rows import DownloadRow
from pipeline.sources.context import Context
from pipeline.sources.kinetics400.acquisition import Acquisition
from pipeline.sources.kinetics400.annotations import AnnotatedClips, Subset, read_clips
from pipeline.sources.kinetics400.estimate import SplitEstimate, describe, estimate_archives
from pipeline.sources.kinetics400.quotas import ClassQuotas, even_quotas


class Kinetics400:
    """The source. Clips of `subset` are taken before others."""

    def __init__(self, name: str, context: Context, subset: Subset) -> None:
        self.name, self._context, self._subset = name, context, subset

    def plan(self) -> list[str]:
        """See `estimate`."""
        clips = self._read_clips()
        quotas = self._new_quotas(clips)
        estimates = self._estimate(quotas)
        return describe(clips, quotas.quota, self._context.settings.reserve_per_class, estimates)

    def download(self) -> list[DownloadRow]:
        """One row per annotated clip: ok, failed, or spare.

        Raises:
            WorkError: a list cannot be read, or `download.disk_gb` is too little for the wanted clips.
        """
        clips = self._read_clips()
        if self._context.settings.disk_gb is not None:
            kept = sum(estimate.kept for estimate in self._estimate(self._new_quotas(clips)))
            self._context.hosts.disk.require(kept, self.name)
        quotas = self._new_quotas(clips)
        acquisition = Acquisition(self.name, self._context, quotas, RAW / self.name)
        acquisition.run()
        self._print_shortage(quotas)
        return [*clips.others, *(acquisition.row(clip) for clip in clips.usable.values())]

    def _read_clips(self) -> AnnotatedClips:
        context = self._context
        return read_clips(context.hosts, context.settings.kinetics_splits, self.name, self._subset)

    def _new_quotas(self, clips: AnnotatedClips) -> ClassQuotas:
        settings, labels = self._context.settings, (clip.labels[0] for clip in clips.usable.values())
        quota = even_quotas(labels, settings.kinetics_clips, settings.seed)
        return ClassQuotas(clips.usable, quota, settings.reserve_per_class)

    def _estimate(self, quotas: ClassQuotas) -> list[SplitEstimate]:
        return estimate_archives(self._context.hosts, self._context.settings, quotas, self.name)

    def _print_shortage(self, quotas: ClassQuotas) -> None:
        short = quotas.shortage()
        if not short:
            total, classes = sum(quotas.quota.values()), len(quotas.quota)
            print(f"{self.name}: {total:,} clips, the full quota of each of {classes} classes")
            return
        print(f"{self.name}: {len(short)} classes lack {sum(short.values()):,} clips of their quota:")
        for label, count in short.items():
            print(f"  {label}: {count} of {quotas.quota[label]}")
