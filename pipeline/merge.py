"""merge: one manifest of all sources; gives every clip its class, and every lost clip its reason."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from common.errors import WorkError
from pipeline import params, sources
from pipeline.composite import labels
from pipeline.params import Merge
from pipeline.records import manifests
from pipeline.records.failures import ClipError, Failure
from pipeline.records.manifests import Row
from pipeline.runner import per_clip

_RULES = {
    "label_sets": "class = set of labels, the most frequent {kept} sets",
    "first_label": "class = first label",
    "source_video": "class = parent video",
}
_FROM_DOWNLOAD = ("labels", "official_split", "video_id", "in_minikinetics200", "rank", "quota", "start_s", "end_s")


@dataclass(frozen=True)
class ClassName:
    """A class before it has a number: where it comes from, its name, and the labels that make it."""

    source: str
    name: str
    member_labels: tuple[str, ...]


def main() -> None:
    """Read download.parquet and resize.parquet, write clips.parquet and classes.parquet."""
    settings = params.load()
    kinds = {name: entry.kind for name, entry in sources.parse(settings.sources).items()}
    facts = {row["clip_id"]: row for row in manifests.read("download")}
    rows = [_with_facts(row, facts[row["clip_id"]], kinds[row["source"]]) for row in manifests.read("resize")]
    classes = assign_classes(rows, kinds, settings.merge)
    drop_repeats(rows, classes, kinds)
    fill_quotas(rows, classes)
    numbers = number_classes((classes[row["clip_id"]] for row in rows if row["status"] == "ok"), list(kinds))
    _say_classes(numbers, settings.merge, kinds)
    _check_expected(numbers, settings.merge, kinds)
    counts = Counter(numbers[classes[row["clip_id"]]] for row in rows if row["status"] == "ok")
    for row in rows:
        name = classes.get(row["clip_id"])
        if row["status"] != "failed" and name in numbers:
            row |= {"class_id": numbers[name], "class_name": name.name}
    manifests.write("clips", rows)
    manifests.write("classes", [_class_row(name, number, counts[number]) for name, number in numbers.items()])
    per_clip.report("merge", rows)


def assign_classes(rows: list[Row], kinds: Mapping[str, str], settings: Merge) -> dict[str, ClassName]:
    """The class of each usable clip, by clip_id, before duplicates are dropped and quotas are filled."""
    usable = [row for row in rows if row["status"] == "ok"]
    spelled = _spelled(usable, labels.read_aliases(Path(settings.aliases) if settings.aliases else labels.ALIASES))
    multi = [row for row in spelled if kinds[row["source"]] == "tinyvirat"]
    if settings.class_rule == "label_sets":
        names = _label_sets(multi, settings)
    elif settings.class_rule == "first_label":
        names = {row["clip_id"]: _single(row) for row in multi}
    else:
        names = {row["clip_id"]: ClassName(row["source"], row["video_id"], ()) for row in multi}
    return names | {row["clip_id"]: _single(row) for row in spelled if kinds[row["source"]] != "tinyvirat"}


def _spelled(rows: Iterable[Row], aliases: Mapping[str, str]) -> list[Row]:
    """Copies of the rows whose labels are the names that their source's other clips have for the same thing."""
    rows = list(rows)
    names = {
        source: labels.unify((label for row in rows if row["source"] == source for label in row["labels"]), aliases)
        for source in {row["source"] for row in rows}
    }
    return [row | {"labels": [names[row["source"]][label] for label in row["labels"]]} for row in rows]


def _single(row: Row) -> ClassName:
    return ClassName(row["source"], row["labels"][0], (row["labels"][0],))


def _label_sets(rows: Sequence[Row], settings: Merge) -> dict[str, ClassName]:
    """`label_set_classes`, with as many classes as `label_sets` says where the number of classes matters.

    Clips that no kept set covers make classes of their own; for each of these one rare set less is kept.
    """
    names = label_set_classes(rows, settings.label_sets)
    kept = settings.label_sets
    while settings.expected_classes is not None and len(set(names.values())) > settings.label_sets and kept > 1:
        kept -= 1
        names = label_set_classes(rows, kept)
    if kept < settings.label_sets:
        single = len(set(names.values())) - kept
        print(f"merge: the {kept} most frequent label sets, and {single} labels whose clips none of them covers")
    return names


def label_set_classes(rows: Iterable[Row], kept: int) -> dict[str, ClassName]:
    """Classes of multi-label clips: the `kept` most frequent label sets.

    A clip with a rarer set joins the most frequent kept set contained in it (ties by name), else the kept set of its
    first label, else it keeps that single label as a class of its own.
    """
    rows = list(rows)
    sets = {row["clip_id"]: tuple(sorted(set(row["labels"]))) for row in rows}
    counts = Counter(sets.values())
    ranked = sorted(counts, key=lambda group: (-counts[group], group))[:kept]
    chosen = {}
    for row in rows:
        group = sets[row["clip_id"]]
        if group not in ranked:
            group = next((smaller for smaller in ranked if set(smaller) <= set(group)), (row["labels"][0],))
        chosen[row["clip_id"]] = ClassName(row["source"], " + ".join(group), group)
    return chosen


def drop_repeats(rows: list[Row], classes: Mapping[str, ClassName], kinds: Mapping[str, str]) -> None:
    """Fail clips whose pictures, or whose seconds of a YouTube video, are in the composite already; in place.

    One clip of equal pictures stays (the earliest arrival); under two classes none can be trusted and none stays.
    """
    usable = sorted((row for row in rows if row["status"] == "ok"), key=_arrival)
    _drop_equal_pictures(usable, classes)
    by_video: dict[str, list[Row]] = {}
    for row in usable:
        if kinds[row["source"]] in ("kinetics400", "minikinetics200"):
            by_video.setdefault(row["video_id"], []).append(row)
    for same in by_video.values():
        _drop_overlaps(same, classes)


def _drop_equal_pictures(usable: Iterable[Row], classes: Mapping[str, ClassName]) -> None:
    by_content: dict[str, list[Row]] = {}
    for row in usable:
        by_content.setdefault(row["sha256"], []).append(row)
    for same in by_content.values():
        if len({classes[row["clip_id"]] for row in same}) > 1:
            named = " and ".join(sorted({classes[row["clip_id"]].name for row in same}))
            for row in same:
                _fail(row, ClipError(Failure.CONFLICTING_LABEL, f"the same pictures are labelled {named}"))
        for row in same[1:]:
            if row["status"] == "ok":
                _fail(row, ClipError(Failure.DUPLICATE, f"the same pictures as {same[0]['clip_id']}"))


def _drop_overlaps(same: Sequence[Row], classes: Mapping[str, ClassName]) -> None:
    """Of the clips of one video, those that share seconds are one clip, and it has one class.

    The video serves the class of its first clip alone, so that no video is on both sides of the class split.
    """
    for one, other in combinations(same, 2):
        differ = classes[one["clip_id"]] != classes[other["clip_id"]]
        if differ and _overlap(one, other) > 0.5 and one["status"] == other["status"] == "ok":
            named = " and ".join(sorted(classes[row["clip_id"]].name for row in (one, other)))
            for row in (one, other):
                _fail(row, ClipError(Failure.CONFLICTING_LABEL, f"the same seconds are labelled {named}"))
    kept: list[Row] = []
    for row in same:
        if row["status"] != "ok":
            continue
        shared = next((earlier for earlier in kept if _overlap(earlier, row)), None)
        if kept and classes[kept[0]["clip_id"]] != classes[row["clip_id"]]:
            first = kept[0]["clip_id"]
            _fail(row, ClipError(Failure.DUPLICATE, f"its video serves class {classes[first].name} by {first}"))
        elif shared is not None:
            _fail(row, ClipError(Failure.DUPLICATE, f"it shares seconds with {shared['clip_id']}"))
        else:
            kept.append(row)


def _overlap(one: Row, other: Row) -> float:
    """Seconds that two clips of a video share, as a share of the shorter one; 0 where times are not known."""
    if None in (one["start_s"], one["end_s"], other["start_s"], other["end_s"]):
        return 0.0
    common = min(one["end_s"], other["end_s"]) - max(one["start_s"], other["start_s"])
    shorter = min(one["end_s"] - one["start_s"], other["end_s"] - other["start_s"])
    return max(0.0, float(common)) / float(shorter)


def fill_quotas(rows: list[Row], classes: Mapping[str, ClassName]) -> None:
    """Keep the earliest arrivals of each class up to its quota; the rest is spare. In place."""
    taken: Counter[ClassName] = Counter()
    for row in sorted((row for row in rows if row["status"] == "ok"), key=_arrival):
        name = classes[row["clip_id"]]
        if row["quota"] is not None and taken[name] >= row["quota"]:
            row["status"] = "spare"
        taken[name] += row["status"] == "ok"


def number_classes(names: Iterable[ClassName], order: list[str]) -> dict[ClassName, int]:
    """Dense class ids: sources in the order of params.yaml, names in alphabetical order."""
    ranked = sorted(set(names), key=lambda name: (order.index(name.source), name.name))
    return {name: number for number, name in enumerate(ranked)}


def _with_facts(row: Row, facts: Row, kind: str) -> Row:
    own = facts["labels"] if kind == "tinyvirat" else None
    return row | {name: facts[name] for name in _FROM_DOWNLOAD} | {"tinyvirat_labels": own}


def _arrival(row: Row) -> tuple[str, int, str]:
    return row["source"], row["rank"], row["clip_id"]


def _fail(row: Row, error: ClipError) -> None:
    row |= {"status": "failed", "error": error.code.value, "error_detail": error.detail}


def _class_row(name: ClassName, number: int, clips: int) -> Row:
    return {
        "class_id": number,
        "class_name": name.name,
        "source": name.source,
        "member_labels": list(name.member_labels),
        "clips": clips,
    }


def _say_classes(numbers: Mapping[ClassName, int], settings: Merge, kinds: Mapping[str, str]) -> None:
    by_source = Counter(name.source for name in numbers)
    parts = [f"{count} {source}" for source, count in by_source.items()]
    line = f"merge: {len(numbers)} classes = " + " + ".join(parts)
    if "tinyvirat" in (kinds[source] for source in by_source):
        line += f" ({_RULES[settings.class_rule].format(kept=settings.label_sets)})"
    print(line)


def _check_expected(numbers: Mapping[ClassName, int], settings: Merge, kinds: Mapping[str, str]) -> None:
    if settings.expected_classes is None or len(numbers) == settings.expected_classes:
        return
    counts = ", ".join(f"{source} {n}" for source, n in Counter(name.source for name in numbers).items())
    deciding = "merge.class_rule and merge.label_sets" if "tinyvirat" in kinds.values() else "the folders' classes"
    raise WorkError(
        f"{len(numbers)} classes ({counts}), but merge.expected_classes is {settings.expected_classes}: "
        f"{deciding} decide; set merge.expected_classes to null to take what there is"
    )
