"""merge: write one manifest of all sources, with the class of every clip or the reason why it has none."""

import dataclasses
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from common.errors import WorkError
from pipeline import params, sources
from pipeline.composite import excluded, growth, labels, where
from pipeline.composite.classes import ClassName, normalise_labels
from pipeline.composite.clip import Clip
from pipeline.composite.coverage import find_gaps
from pipeline.composite.decisions import decide
from pipeline.params import Merge
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.rows import ClassRow, CompositeRow, DownloadRow, GapRow, ResizeRow
from pipeline.runner import per_clip

_RULES = {
    "label_sets": "class = set of labels, the most frequent {kept} sets",
    "first_label": "class = first label",
    "source_video": "class = parent video",
}


def main() -> None:
    """Read download.parquet, resize.parquet and excluded.csv; write clips.parquet, classes.parquet and gaps.parquet.

    Raises:
        ParamError: as `where.read`.
        WorkError: as `read_excluded`, or the number of classes is not `merge.expected_classes`.
    """
    settings = params.load()
    condition = where.read(settings.merge)
    facts = sources.facts(settings.sources)
    multi_label = {name for name, source in facts.items() if source.multi_label}
    youtube = {name for name, source in facts.items() if source.youtube_videos}
    annotations = {row.clip_id: row for row in manifests.read(DownloadRow)}
    made = manifests.read(ResizeRow)
    exclusions = excluded.read_excluded()
    filmstrips = excluded.exclude(made, exclusions)
    earlier = growth.read_earlier() if settings.split.freeze else growth.Earlier()

    clips = [
        Clip.join(row, annotations[row.clip_id], is_new=row.clip_id not in earlier.clips)
        for row in filmstrips
        if row.status == "ok"
    ]
    aliases = labels.read_aliases(Path(settings.merge.aliases) if settings.merge.aliases else labels.ALIASES)
    clips = normalise_labels(clips, aliases)
    decisions = decide(clips, settings.merge, condition, multi_label=multi_label, youtube=youtube)
    classes = earlier.named(decisions.classes)
    sizes = Counter(classes[clip_id] for clip_id in decisions.kept)
    numbers = earlier.number(sizes, list(facts))
    present = [name for name in numbers if sizes[name]]

    _print_label_sets(classes.values(), decisions.kept_sets, multi_label, settings.merge)
    _print_classes(present, multi_label, settings.merge)
    _check_expected(present, multi_label, settings.merge)
    rows = [
        _composite_row(
            _with_decision(row, decisions.left_out.get(row.clip_id), row.clip_id in decisions.spare),
            annotations[row.clip_id],
            classes.get(row.clip_id),
            numbers,
            multi_label=row.source in multi_label,
            duplicate_of=decisions.duplicate_of.get(row.clip_id),
        )
        for row in filmstrips
    ]
    manifests.write(CompositeRow, rows)
    manifests.write(ClassRow, [_class_row(name, number, sizes[name]) for name, number in numbers.items()])
    gaps = find_gaps(rows, sources.with_listed_clips(settings.sources), aliases)
    manifests.write(GapRow, gaps)
    per_clip.print_summary("merge", rows)
    if gaps:
        print(f"merge: {len(gaps):,} listed clips are missing: manifests/gaps.parquet has their reasons")
    for clip_id, other in excluded.stand_ins(made, exclusions, decisions.kept):
        print(f"merge: {clip_id} has the same pictures as {other}, which is excluded, and is in its place")
    if warning := excluded.unknown(exclusions, annotations.keys()):
        print(warning, file=sys.stderr)


def _with_decision(row: ResizeRow, error: ClipError | None, is_spare: bool) -> ResizeRow:
    if error is not None:
        return dataclasses.replace(row, status="failed", error=error.code.value, error_detail=error.detail)
    return dataclasses.replace(row, status="spare") if is_spare else row


def _composite_row(
    row: ResizeRow,
    annotation: DownloadRow,
    name: ClassName | None,
    numbers: Mapping[ClassName, int],
    *,
    multi_label: bool,
    duplicate_of: str | None,
) -> CompositeRow:
    """The clip's row; ok and spare clips have a class, failed ones have none."""
    build = partial(
        CompositeRow,
        clip_id=row.clip_id,
        source=row.source,
        status=row.status,
        error=row.error,
        error_detail=row.error_detail,
        attempts=row.attempts,
        key=row.key,
        labels=annotation.labels,
        tinyvirat_labels=annotation.labels if multi_label else None,
        official_split=annotation.official_split,
        video_id=annotation.video_id,
        in_minikinetics200=annotation.in_minikinetics200,
        path=row.path,
        bytes=row.bytes,
        sha256=row.sha256,
        valid_frames=row.valid_frames,
        motion=row.motion,
        sharpness=row.sharpness,
        brightness=row.brightness,
        duplicate_of=duplicate_of,
    )
    if row.status == "failed" or name is None or name not in numbers:
        return build()
    return build(class_id=numbers[name], class_name=name.name)


def _class_row(name: ClassName, number: int, clips: int) -> ClassRow:
    return ClassRow(
        class_id=number, class_name=name.name, source=name.source, member_labels=name.member_labels, clips=clips
    )


def _print_label_sets(classes: Collection[ClassName], kept: int, multi_label: Collection[str], settings: Merge) -> None:
    """Print the numbers of label sets and single labels that are classes, if fewer than `label_sets` sets are kept."""
    if kept < settings.label_sets:
        others = len({name for name in classes if name.source in multi_label}) - kept
        print(f"merge: the {kept} most frequent label sets, and {others} labels of clips that contain none of them")


def _print_classes(names: Collection[ClassName], multi_label: Collection[str], settings: Merge) -> None:
    by_source = Counter(name.source for name in names)
    counts = " + ".join(f"{count} {source}" for source, count in by_source.items())
    has_rule = any(source in multi_label for source in by_source)
    rule = f" ({_RULES[settings.class_rule].format(kept=settings.label_sets)})" if has_rule else ""
    print(f"merge: {len(names)} classes = {counts}{rule}")


def _check_expected(names: Collection[ClassName], multi_label: Collection[str], settings: Merge) -> None:
    if settings.expected_classes is None or len(names) == settings.expected_classes:
        return
    counts = ", ".join(f"{source} {count}" for source, count in Counter(name.source for name in names).items())
    deciding = "merge.class_rule and merge.label_sets decide" if multi_label else "the labels of the sources decide"
    if settings.where is not None:
        deciding += ", of the clips that merge.where keeps"
    raise WorkError(
        f"the number of classes is {len(names)} ({counts}), but merge.expected_classes is {settings.expected_classes}: "
        f"{deciding}; set merge.expected_classes to null to accept any number"
    )
