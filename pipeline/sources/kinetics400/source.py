"""Kinetics-400 as a source: its dry run and its download."""

from dataclasses import replace

from common.paths import RAW
from pipeline.records.rows import DownloadRow
from pipeline.sources.context import Context
from pipeline.sources.kinetics400.acquisition import Acquisition
from pipeline.sources.kinetics400.annotations import AnnotatedClips
from pipeline.sources.kinetics400.estimate import SplitEstimate, describe, estimate_archives
from pipeline.sources.kinetics400.quotas import ClassQuotas
from pipeline.sources.kinetics400.selection import Selection
from pipeline.sources.plan import Plan


class Kinetics400:
    """The source, of which the clips of `selection` are wanted."""

    def __init__(self, name: str, context: Context, selection: Selection) -> None:
        self.name, self._context, self._selection = name, context, selection

    def plan(self) -> Plan:
        """See `estimate`."""
        clips = self._read_clips()
        quotas = self._selection.quotas(clips)
        return describe(clips, quotas.quota, quotas.reserve, self._estimate(clips))

    def download(self) -> list[DownloadRow]:
        """One row per annotated clip: ok, failed, or spare.

        Raises:
            WorkError: a list cannot be read, or `download.disk_gb` is too little for the wanted clips.
        """
        clips = self._read_clips()
        if self._context.settings.disk_gb is not None:
            kept = sum(estimate.kept for estimate in self._estimate(clips))
            self._context.hosts.disk.require(kept, self.name)
        quotas = self._selection.quotas(clips)
        acquisition = Acquisition(self.name, self._context, quotas, RAW / self.name)
        acquisition.run()
        self._print_shortage(quotas)
        rows = [*clips.others, *(acquisition.row(clip) for clip in clips.usable.values())]
        return [replace(row, official_split=clips.splits.get(row.clip_id, row.official_split)) for row in rows]

    def _read_clips(self) -> AnnotatedClips:
        context = self._context
        return self._selection.read(context.hosts, context.settings.kinetics_splits, self.name)

    def _estimate(self, clips: AnnotatedClips) -> list[SplitEstimate]:
        context = self._context
        quotas = self._selection.quotas(clips)
        return estimate_archives(context.hosts, context.settings, quotas, clips.annotated, self.name)

    def _print_shortage(self, quotas: ClassQuotas) -> None:
        short = quotas.shortage()
        if not short:
            total, classes = sum(quotas.quota.values()), len(quotas.quota)
            print(f"{self.name}: {total:,} clips, the full quota of each of {classes} classes")
            return
        print(f"{self.name}: {len(short)} classes lack {sum(short.values()):,} clips of their quota:")
        for label, count in short.items():
            print(f"  {label}: {count} of {quotas.quota[label]}")
