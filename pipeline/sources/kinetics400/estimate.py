"""The estimate behind `download --dry-run`: clips by class, archives to download, bytes."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.fetch.hosts import Hosts
from pipeline.params import Download
from pipeline.records.manifests import count_failures
from pipeline.sources.kinetics400.annotations import AnnotatedClips, read_archive_urls
from pipeline.sources.kinetics400.quotas import ClassQuotas
from pipeline.sources.plan import ClassPlan, FilesPlan, Plan, size_text


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
) -> Plan:
    """The estimate in numbers and lines of text; `quota` is by class."""
    available = Counter(clip.labels[0] for clip in clips.usable.values())
    classes = {label: ClassPlan(count, available[label]) for label, count in quota.items()}
    wanted = sum(min(each.wanted, each.annotated) for each in classes.values())
    reserve = sum(min(reserve_per_class, max(0, each.annotated - each.wanted)) for each in classes.values())
    annotated, unclear = len(clips.usable) + len(clips.others), len(clips.others)
    spread = ", ".join(f"{count} classes of {size}" for size, count in sorted(Counter(quota.values()).items()))
    lines = [
        f"{annotated:,} clips annotated, {unclear:,} of them without one clear label",
        f"{wanted:,} clips wanted of {len(quota)} classes ({spread}), and {reserve:,} in reserve",
    ]
    short = {label: each for label, each in classes.items() if each.annotated < each.wanted}
    if short:
        examples = ", ".join(f"{label} {each.annotated} of {each.wanted}" for label, each in list(short.items())[:5])
        lines.append(f"{len(short)} classes have fewer clips than wanted: {examples}")
    return Plan(
        (*lines, *_describe_archives(estimates)),
        tuple(_files(estimate) for estimate in estimates),
        annotated=annotated,
        wanted=wanted,
        reserve=reserve,
        lost=count_failures(clips.others),
        classes=classes,
    )


def _describe_archives(estimates: Sequence[SplitEstimate]) -> list[str]:
    lines = []
    for estimate in estimates:
        sizes = f", {size_text(estimate.downloaded)}, of which {size_text(estimate.kept)} are kept"
        lines.append(
            f"{estimate.split}: about {estimate.needed} of {estimate.archives} archives to download"
            + (sizes if estimate.downloaded else "")
        )
    return lines if any(estimate.downloaded for estimate in estimates) else [*lines, "the host gives no sizes"]


def _files(estimate: SplitEstimate) -> FilesPlan:
    known = estimate.downloaded > 0 or estimate.needed == 0
    sizes = (estimate.downloaded, estimate.kept) if known else (None, None)
    return FilesPlan(estimate.split, estimate.needed, estimate.archives, *sizes)
