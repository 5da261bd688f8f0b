"""The estimate printed by `download --dry-run`: clips by class, archives to download, bytes."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.fetch.hosts import Hosts
from pipeline.params import Download
from pipeline.sources.kinetics400.annotations import AnnotatedClips, read_archive_urls
from pipeline.sources.kinetics400.quotas import ClassQuotas


@dataclass(frozen=True)
class SplitEstimate:
    """How many of a split's archives will be needed."""

    split: str
    needed: int
    archives: int
    downloaded: int  # bytes of the needed archives; 0 if their host gives no sizes
    kept: int  # bytes of the clips that are kept of them


def estimate_archives(
    hosts: Hosts, settings: Download, quotas: ClassQuotas, annotated: Mapping[str, int], source: str
) -> list[SplitEstimate]:
    """Simulate the download on `quotas`: clips are spread over the archives at random, and all of them are healthy.

    Args:
        annotated: clips in all archives of each split.
    """
    estimates = []
    for split in settings.kinetics_splits:
        urls = read_archive_urls(hosts, split, source)
        clip_ids = [clip_id for clip_id, clip in quotas.clips.items() if clip.official_split == split]
        random.Random(f"estimate-{settings.seed}").shuffle(clip_ids)
        needed = downloaded = kept = 0
        for number, url in enumerate(urls):
            if not quotas.need(split):
                break
            content = clip_ids[number :: len(urls)]
            selected = quotas.select(content)
            for clip_id in selected:
                quotas.record(clip_id, healthy=True)
            size = hosts.size(url) or 0
            needed, downloaded = needed + 1, downloaded + size
            kept += round(size * len(selected) * len(urls) / max(1, annotated[split]))
        estimates.append(SplitEstimate(split, needed, len(urls), downloaded, kept))
    return estimates


def describe(
    clips: AnnotatedClips, quota: Mapping[str, int], reserve_per_class: int, estimates: Sequence[SplitEstimate]
) -> list[str]:
    """The estimate in lines of text; `quota` is by class."""
    available = Counter(clip.labels[0] for clip in clips.usable.values())
    short = {label: available[label] for label in quota if available[label] < quota[label]}
    lacking = sum(quota[label] - count for label, count in short.items())
    reserve = sum(min(reserve_per_class, max(0, available[label] - quota[label])) for label in quota)
    sizes = sorted(Counter(quota.values()).items())
    spread = ", ".join(f"{count} classes of {size}" for size, count in sizes)
    annotated, unclear = len(clips.usable) + len(clips.others), len(clips.others)
    lines = [
        f"{annotated:,} clips annotated, {unclear:,} of them without one clear label",
        f"{sum(quota.values()) - lacking:,} clips wanted of {len(quota)} classes ({spread}), and {reserve:,} in reserve",
    ]
    if short:
        examples = ", ".join(f"{label} {count} of {quota[label]}" for label, count in list(short.items())[:5])
        lines.append(f"{len(short)} classes have fewer clips than wanted: {examples}")
    for estimate in estimates:
        size_text = f", {estimate.downloaded / 1e9:,.1f} GB, of which {estimate.kept / 1e9:,.1f} GB are kept"
        lines.append(
            f"{estimate.split}: about {estimate.needed} of {estimate.archives} archives to download"
            + (size_text if estimate.downloaded else "")
        )
    if not any(estimate.downloaded for estimate in estimates):
        lines.append("the host gives no sizes")
    return lines
