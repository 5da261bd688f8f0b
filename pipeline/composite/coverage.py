"""Of the clips that a source lists one by one: which are missing, and digests by which others can name the rest."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.composite import labels
from pipeline.records.rows import SPLITS, CompositeRow, DownloadRow, GapRow


@dataclass(frozen=True)
class Coverage:
    """How many of a source's listed clips the composite has in one split, or in all.

    Args:
        clips_sha256: of the lines `CLIP_ID`, in their order, each ended by a line feed.
        files_sha256: of the lines `CLIP_ID SHA256`, with the sha256 of each file as it was downloaded.
    """

    source: str
    split: str
    listed: int
    present: int
    clips_sha256: str
    files_sha256: str


def find_gaps(rows: Iterable[CompositeRow], sources: Collection[str], aliases: Mapping[str, str]) -> list[GapRow]:
    """A row for each clip of these sources that failed.

    Args:
        aliases: of `labels.read_aliases`.
    """
    failed = [row for row in rows if row.source in sources and row.status == "failed"]
    names = labels.class_names((label for row in failed for label in row.labels), aliases)
    return [
        GapRow(
            clip_id=row.clip_id,
            source=row.source,
            class_name=names[row.labels[0]],
            split=row.official_split,
            reason=row.error or "",
            detail=row.error_detail,
        )
        for row in failed
    ]


def measure(source: str, clips: Sequence[CompositeRow], downloads: Iterable[DownloadRow]) -> list[Coverage]:
    """The coverage of each split of one source, and of `all`."""
    files = {row.clip_id: row.sha256 for row in downloads}
    by_split: dict[str, list[CompositeRow]] = {split: [] for split in (*SPLITS, "all")}
    for clip in sorted((clip for clip in clips if clip.source == source), key=lambda clip: clip.clip_id):
        by_split["all"].append(clip)
        if clip.official_split in by_split:
            by_split[clip.official_split].append(clip)
    found = []
    for split, listed in by_split.items():
        present = [clip.clip_id for clip in listed if clip.status == "ok"]
        digests = _sha256(present), _sha256(f"{clip_id} {files[clip_id]}" for clip_id in present)
        found.append(Coverage(source, split, len(listed), len(present), *digests))
    return found


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
