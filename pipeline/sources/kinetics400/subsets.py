"""Few-shot subsets of Kinetics-400: lists of exact clips whose classes are split, such as Kinetics-100 of Zhu and Yang (2018).

A list has one clip a line, `CLASS/YOUTUBE_ID_START_END` with the times in seconds of six digits; there is one list for
the classes of each split, train.list, val.list and test.list.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from common.errors import WorkError
from pipeline.composite import labels
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import SPLITS, DownloadRow, Split
from pipeline.sources.clips import Annotation, failed_row
from pipeline.sources.kinetics400.annotations import AnnotatedClips, parse_clip_name

if TYPE_CHECKING:
    from pipeline.fetch.hosts import Hosts

CMN = "https://raw.githubusercontent.com/ffmpbgrnn/CMN/master/kinetics-100/"
_MAX_LINES = 1_000_000


@dataclass(frozen=True)
class PublishedList:
    """The facts of one published list: its sha256, and its numbers of classes and clips."""

    sha256: str
    classes: int
    clips: int


KINETICS100: Mapping[Split, PublishedList] = {
    "train": PublishedList("d0cbdcaa6fd4a28c8a514e85dd47407a4124ba3d8187aadd0a41c47636d592ae", 64, 6400),
    "val": PublishedList("e3144200327ce31bc5be0e1efb1107c6c7f2912c95eb2457095374b2c22bf74a", 12, 1200),
    "test": PublishedList("9c2351cf070ad7d052f1fb2885e5e4b246da7a38d06cb730bf7473eeb7173d09", 24, 2400),
}


def read_subset(
    hosts: "Hosts", folder: str | None, published: Mapping[Split, PublishedList] | None, source: str
) -> dict[str, Annotation]:
    """The listed clips by clip_id; their one label and their official split are those of the lists.

    Args:
        folder: path or fsspec URL of a folder with the three lists; None: `CMN`, or its place in a mirror.
        published: what the lists must be; None: any lists of this form.

    Raises:
        WorkError: a list is missing, malformed or not the published one, or a clip or class is listed twice.
    """
    clips: dict[str, Annotation] = {}
    split_of: dict[str, Split] = {}  # by key of the class
    for split in SPLITS:
        name = f"{split}.list of {source}"
        text = _read_list(hosts, folder, split, source)
        found = list(parse_subset_list(text, split, source))
        if published is not None:
            _check_published(text, found, published[split], name)
        for clip in found:
            (label,) = clip.labels
            if split_of.setdefault(labels.key(label), split) != split:
                raise WorkError(f"{name}: class {label!r} is in {split_of[labels.key(label)]}.list too")
            if clips.setdefault(clip.clip_id, clip) is not clip:
                raise WorkError(f"{name}: {clip.clip_id} is listed twice")
        if not found:
            raise WorkError(f"{name} lists no clips")
    return clips


def parse_subset_list(text: str, split: Split, source: str) -> Iterator[Annotation]:
    """The clips of one list, in its order; empty lines are left out.

    Raises:
        WorkError: a line is no class and clip, or there are more than a million lines.
    """
    name = f"{split}.list of {source}"
    for number, line in enumerate(io.StringIO(text), 1):
        if number > _MAX_LINES:
            raise WorkError(f"{name} has more than {_MAX_LINES:,} lines: not a list of clips")
        line = line.removesuffix("\n")
        if not line:
            continue
        label, separator, clip_name = line.partition("/")
        clip = parse_clip_name(clip_name, source) if separator and label.strip() and label.isprintable() else None
        if clip is None:
            raise WorkError(f"{name}, line {number}: {line[:80]!r} is not CLASS/YOUTUBE_ID_START_END")
        yield replace(clip, labels=(label,), official_split=split)


def join(listed: Mapping[str, Annotation], annotated: Iterable[Annotation], source: str) -> AnnotatedClips:
    """The listed clips with the label and the split by which Kinetics-400 has them.

    A clip that Kinetics-400 has under other labels only fails; one that its lists lack is usable, of no split.

    Args:
        listed: by clip_id.
        annotated: the clips of Kinetics-400's lists.

    Raises:
        WorkError: a listed class is no label of `annotated`, by the rules of `labels.class_names`.
    """
    aliases = labels.read_aliases()
    keys: dict[str, str] = {}  # by label
    entries: dict[str, list[Annotation]] = {}
    sizes: dict[str, int] = {}
    for clip in annotated:
        keys.update({label: _class_key(label, aliases) for label in clip.labels if label not in keys})
        sizes[clip.official_split or ""] = sizes.get(clip.official_split or "", 0) + 1
        if clip.clip_id in listed:
            entries.setdefault(clip.clip_id, []).append(clip)
    spelling = {key: label for label, key in sorted(keys.items(), reverse=True)}
    _check_classes(listed.values(), spelling, aliases, source)
    usable: dict[str, Annotation] = {}
    others: list[DownloadRow] = []
    for clip_id, clip in listed.items():
        key = _class_key(clip.labels[0], aliases)
        found = entries.get(clip_id, [])
        names = {label for entry in found for label in entry.labels}
        clip = replace(clip, labels=(spelling[key],), official_split=found[0].official_split if found else None)
        if names and key not in {keys[name] for name in names}:
            detail = f"listed as {clip.labels[0]}, annotated as {' and as '.join(sorted(names))}"
            others.append(failed_row(clip, ClipError(Failure.CONFLICTING_LABEL, detail)))
        else:
            usable[clip_id] = clip
    splits = {clip_id: clip.official_split for clip_id, clip in listed.items()}
    return AnnotatedClips(usable, others, sizes, splits)


def _read_list(hosts: "Hosts", folder: str | None, split: Split, source: str) -> str:
    """One list, with line feeds alone at the ends of its lines."""
    if folder is None:
        text = hosts.read_text(f"{CMN}{split}.list")
    else:
        address = f"{folder.rstrip('/')}/{split}.list"
        try:
            text = replace(hosts, mirror=None).read_text(address)
        except WorkError as error:
            raise WorkError(f"sources.{source}.lists: {error}") from None
    return text.replace("\r\n", "\n")


def _check_published(text: str, clips: list[Annotation], published: PublishedList, name: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != published.sha256:
        classes = len({clip.labels for clip in clips})
        raise WorkError(
            f"{name} is not the published one: it has {len(clips):,} clips of {classes} classes and the sha256 "
            f"{digest[:12]}…, not {published.clips:,} of {published.classes} and {published.sha256[:12]}…; "
            "`subset: lists` takes other lists"
        )


def _class_key(label: str, aliases: Mapping[str, str]) -> str:
    return labels.key(aliases.get(labels.key(label), label))


def _check_classes(
    listed: Iterable[Annotation], spelling: Mapping[str, str], aliases: Mapping[str, str], source: str
) -> None:
    unknown = sorted({clip.labels[0] for clip in listed if _class_key(clip.labels[0], aliases) not in spelling})
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise WorkError(f"the lists of {source} have a class that no list of Kinetics-400 has: {unknown[0]!r}{more}")
