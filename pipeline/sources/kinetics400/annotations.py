"""Kinetics-400's lists: annotated clips, archives, and the names of clips in the archives."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from common.errors import WorkError
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import DownloadRow
from pipeline.sources.clips import Annotation, failed_row

if TYPE_CHECKING:
    from pipeline.fetch.hosts import Hosts

BUCKET = "https://s3.amazonaws.com/kinetics/"
ROOT = f"{BUCKET}400"
REPLACEMENTS = f"{ROOT}/replacement_for_corrupted_k400.tgz"
WATCH = "https://www.youtube.com/watch?v="
_COLUMNS = ("youtube_id", "time_start", "time_end")
_MAX_CLIPS = 1_000_000  # of a list; the longest published one has 247,000
_MAX_TIME_S = 999_999  # six digits in the name of a clip
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_CLIP = re.compile(r"([A-Za-z0-9_-]{11})_(\d{6})_(\d{6})", re.ASCII)
_PART = re.compile(re.escape(ROOT) + r"/(train|val|test)/[\w-][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Subset:
    """The clips of some videos, which are taken before others; `exclusive` leaves all others out."""

    video_ids: frozenset[str] = frozenset()
    exclusive: bool = False


@dataclass(frozen=True)
class AnnotatedClips:
    """The clips that may be downloaded: `usable` ones with one label, by clip_id, and the rows of all `others`.

    Args:
        annotated: clips on the list of each split, also those that are left out here.
        splits: the official split of the clips' rows, by clip_id, where it is not that of their archives.
    """

    usable: Mapping[str, Annotation]
    others: Sequence[DownloadRow]
    annotated: Mapping[str, int]
    splits: Mapping[str, str | None] = field(default_factory=dict)


def read_clips(hosts: "Hosts", splits: Sequence[str], source: str, subset: Subset) -> AnnotatedClips:
    """Read the annotation lists. A clip that is listed several times, with other labels, has no clear label.

    Raises:
        WorkError: see `Hosts.read_text` and `parse_list`.
    """
    clips: dict[str, Annotation] = {}
    annotated: Counter[str] = Counter()
    for clip in read_lists(hosts, splits, source):
        annotated[clip.official_split or ""] += 1
        in_subset = clip.video_id in subset.video_ids
        if subset.exclusive and not in_subset:
            continue
        known = clips.setdefault(clip.clip_id, replace(clip, in_minikinetics200=in_subset))
        if known.labels != clip.labels:
            clips[clip.clip_id] = replace(known, labels=tuple(sorted({*known.labels, *clip.labels})))
    others = []
    for clip in clips.values():
        if not clip.labels:
            error = ClipError(Failure.MISSING_LABEL, f"the {clip.official_split} list gives it no label")
            others.append(failed_row(clip, error))
        elif len(clip.labels) > 1:
            error = ClipError(Failure.CONFLICTING_LABEL, "annotated as " + " and as ".join(clip.labels))
            others.append(failed_row(clip, error))
    usable = {clip_id: clip for clip_id, clip in clips.items() if len(clip.labels) == 1}
    return AnnotatedClips(usable, others, annotated)


def read_lists(hosts: "Hosts", splits: Sequence[str], source: str) -> Iterator[Annotation]:
    """The rows of the splits' lists, in their order; a clip may be listed several times. Raises as `read_clips`."""
    for split in splits:
        yield from parse_list(hosts.read_text(f"{ROOT}/annotations/{split}.csv"), split, source)


def parse_list(text: str, split: str, source: str) -> list[Annotation]:
    """The rows of one annotation CSV, in any of its three published forms; the test split has no label column.

    Raises:
        WorkError: the text is not such a CSV (a web page, say), or a row has no YouTube id or no valid times.
    """
    name = f"{split}.csv of {source}"
    table = csv.DictReader(io.StringIO(text), strict=True)
    clips: list[Annotation] = []
    try:
        if not table.fieldnames:
            raise WorkError(f"{name} is empty: not a Kinetics list")
        missing = [column for column in _COLUMNS if column not in table.fieldnames]
        if missing:
            raise WorkError(f"{name} lacks the columns {', '.join(missing)}: not a Kinetics list")
        for line, row in enumerate(table, 2):
            if len(clips) == _MAX_CLIPS:
                raise WorkError(f"{name} has more than {_MAX_CLIPS:,} clips: not a Kinetics list")
            clips.append(_parse_row(row, split, source, f"{name}, line {line}"))
    except csv.Error as error:
        raise WorkError(f"{name} is not CSV: {error}") from None
    if not clips:
        raise WorkError(f"{name} lists no clips")
    return clips


def _parse_row(row: Mapping[str, str | None], split: str, source: str, where: str) -> Annotation:
    video_id, begin, end = (row[column] or "" for column in _COLUMNS)
    if not _YOUTUBE_ID.fullmatch(video_id):
        raise WorkError(f"{where}: {video_id[:40]!r} is not a YouTube id")
    try:
        start_s, end_s = int(float(begin)), int(float(end))
    except (ValueError, OverflowError):  # overflow: a time of `inf`
        raise WorkError(f"{where}: time_start and time_end are {begin!r} and {end!r}: must be seconds") from None
    if not 0 <= start_s < end_s <= _MAX_TIME_S:
        raise WorkError(
            f"{where}: the clip lasts from {start_s} to {end_s} s: must be a span within 0 to {_MAX_TIME_S} s"
        )
    label = (row.get("label") or "").strip()
    clip = _make_clip(video_id, start_s, end_s, source)
    return replace(clip, labels=(label,) if label else (), official_split=split)


def _make_clip(video_id: str, start_s: int, end_s: int, source: str) -> Annotation:
    """A clip without label and split."""
    return Annotation(
        clip_id=f"k400-{video_id}-{start_s:06d}-{end_s:06d}",
        source=source,
        video_id=video_id,
        labels=(),
        start_s=float(start_s),
        end_s=float(end_s),
    )


def read_archive_urls(hosts: "Hosts", split: str, source: str) -> list[str]:
    """The URLs of a split's archives, as the host lists them.

    Raises:
        WorkError: the list has a URL that is not an archive on this host: none such is ever opened.
    """
    urls = hosts.read_text(f"{ROOT}/{split}/k400_{split}_path.txt").split()
    other = next((url for url in urls if not _PART.fullmatch(url)), None)
    if other is not None:
        raise WorkError(f"k400_{split}_path.txt of {source} is not a list of archives: it has {other[:80]!r}")
    return urls


def parse_clip_name(name: str, source: str) -> Annotation | None:
    """The clip, without label and split, of a name `YOUTUBE_ID_START_END`; None if it is no such name."""
    match = _CLIP.fullmatch(name)
    if match is None or int(match[2]) >= int(match[3]):
        return None
    return _make_clip(match[1], int(match[2]), int(match[3]), source)


def clip_id_of(member: str) -> str | None:
    """The clip_id of an archive member by its name; None if it is not a clip's."""
    stem = member.removeprefix("./").removesuffix(".mp4")
    match = _CLIP.fullmatch(stem) if member.endswith(".mp4") else None
    return f"k400-{match[1]}-{match[2]}-{match[3]}" if match else None


def member_name(clip: Annotation) -> str:
    """The name of a clip in its archive."""
    return f"{clip.video_id}_{clip.start_s or 0:06.0f}_{clip.end_s or 0:06.0f}.mp4"


def duration_s(clip: Annotation) -> float:
    """The annotated length of a clip."""
    return (clip.end_s or 0.0) - (clip.start_s or 0.0)
