"""merge: one manifest of all sources; gives every clip its class, and every lost clip its reason."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.errors import WorkError
from pipeline import manifests, params, sources, stage
from pipeline.failures import ClipError, Failure
from pipeline.manifests import Row
from pipeline.params import Merge

_RULES = {
    "label_sets": "class = set of labels, the most frequent {kept} sets",
    "first_label": "class = first label",
    "source_video": "class = parent video",
}
_FROM_DOWNLOAD = ("labels", "official_split", "video_id", "in_minikinetics200", "rank", "quota")


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
    stage.report("merge", rows)


def assign_classes(rows: list[Row], kinds: Mapping[str, str], settings: Merge) -> dict[str, ClassName]:
    """The class of each usable clip, by clip_id, before duplicates are dropped and quotas are filled."""
    multi = [row for row in rows if row["status"] == "ok" and kinds[row["source"]] == "tinyvirat"]
    if settings.class_rule == "label_sets":
        names = label_set_classes(multi, settings.label_sets)
    elif settings.class_rule == "first_label":
        names = {row["clip_id"]: ClassName(row["source"], row["labels"][0], (row["labels"][0],)) for row in multi}
    else:
        names = {row["clip_id"]: ClassName(row["source"], row["video_id"], ()) for row in multi}
    for row in rows:
        if row["status"] == "ok" and kinds[row["source"]] != "tinyvirat":
            names[row["clip_id"]] = ClassName(row["source"], row["labels"][0], (row["labels"][0],))
    return names


def label_set_classes(rows: Iterable[Row], kept: int) -> dict[str, ClassName]:
    """Classes of multi-label clips: the `kept` most frequent label sets.

    A clip with a rarer set joins the most frequent kept set contained in it (ties by name), else the kept set of its
    first label, else it keeps that single label as a class of its own.
    """
    rows = list(rows)
    sets = {row["clip_id"]: tuple(sorted(set(row["labels"]))) for row in rows}
    counts = Counter(sets.values())
    ranked = sorted(counts, key=lambda labels: (-counts[labels], labels))[:kept]
    chosen = {}
    for row in rows:
        labels = sets[row["clip_id"]]
        if labels not in ranked:
            labels = next((group for group in ranked if set(group) <= set(labels)), (row["labels"][0],))
        chosen[row["clip_id"]] = ClassName(row["source"], " + ".join(labels), labels)
    return chosen


def drop_repeats(rows: list[Row], classes: Mapping[str, ClassName], kinds: Mapping[str, str]) -> None:
    """Fail clips whose pictures, or whose YouTube video, are in the composite already; in place.

    One clip of equal pictures stays (the earliest arrival); under two classes none can be trusted and none stays. A
    YouTube video belongs to the class that it serves first, so that no video is on both sides of the class split.
    """
    usable = sorted((row for row in rows if row["status"] == "ok"), key=_arrival)
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
    owner: dict[str, Row] = {}
    for row in usable:
        if row["status"] != "ok" or kinds[row["source"]] not in ("kinetics400", "minikinetics200"):
            continue
        first = owner.setdefault(row["video_id"], row)
        if classes[first["clip_id"]] != classes[row["clip_id"]]:
            detail = f"its video serves class {classes[first['clip_id']].name} by {first['clip_id']}"
            _fail(row, ClipError(Failure.DUPLICATE, detail))


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
    labels = facts["labels"] if kind == "tinyvirat" else None
    return row | {name: facts[name] for name in _FROM_DOWNLOAD} | {"tinyvirat_labels": labels}


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
