"""split: hold out a fifth of the classes, in proportion from each source, so that clip totals meet the target."""

import csv
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from common.errors import WorkError
from pipeline import params
from pipeline.composite import labels
from pipeline.composite.subset_sum import Member, closest_subset, random_subset
from pipeline.params import Split as Settings
from pipeline.records import manifests
from pipeline.records.rows import SPLITS, ClassRow, CompositeRow, SplitRow

ClassSplit = Literal["train", "val", "test", "unused"]
_BY_NAME: Mapping[str | None, ClassSplit] = {split: split for split in SPLITS}


def main() -> None:
    """Read classes.parquet and clips.parquet, with `freeze` also the earlier splits.parquet; write splits.parquet."""
    settings = params.load().split
    all_classes = manifests.read(ClassRow)
    classes = [row for row in all_classes if row.clips]
    if len(classes) < 2:
        raise WorkError(
            f"split needs 2 classes or more, one for training and one for the test; there are {len(classes)}"
        )
    kept = _read_earlier(all_classes) if settings.freeze else {}
    if settings.by == "file":
        splits = read_lists(Path(settings.file or ""), classes)
    elif settings.by == "official":
        splits = official_splits(manifests.read(CompositeRow), classes)
    else:
        test = choose_test_classes(classes, settings, kept)
        drawn: dict[int, ClassSplit] = {row.class_id: "test" if row.class_id in test else "train" for row in classes}
        splits = drawn | {row.class_id: kept[row.class_id] for row in classes if row.class_id in kept}
        _check_not_empty(splits, "split.freeze: the earlier split")
    rows = [
        SplitRow(
            class_id=row.class_id,
            class_name=row.class_name,
            split=splits[row.class_id] if row.clips else kept.get(row.class_id, "unused"),
            clips=row.clips,
        )
        for row in all_classes
    ]
    present = [row for row in rows if row.clips]
    _check_expected(present, settings)
    manifests.write(SplitRow, rows)
    if kept and settings.by not in ("file", "official"):
        _print_kept(rows, kept)
    _print_summary(present, settings)
    _print_shared_videos(manifests.read(CompositeRow), splits)


def choose_test_classes(
    classes: Sequence[ClassRow], settings: Settings, kept: Mapping[int, ClassSplit] | None = None
) -> set[int]:
    """Ids of the classes to hold out: `held_out` of each source, drawn by seed among the choices that meet the target.

    Args:
        kept: splits of classes that are not drawn, by class_id. The others are drawn so that all together have the share
            and the clips of the test, as near as they can; no id of these classes is in the result.
    """
    kept = kept or {}
    rng = random.Random(f"split-{settings.seed}")
    total = min(len(classes) - 1, max(1, round(len(classes) * settings.held_out)))
    counts = _apportion(Counter(row.source for row in classes), total)
    groups: dict[str, list[Member]] = {source: [] for source in counts}
    for row in classes:
        if row.class_id not in kept:
            groups[row.source].append(Member(row.class_id, row.clips))
    held = [row for row in classes if kept.get(row.class_id) == "test"]
    for source, members in groups.items():
        wanted = counts[source] - sum(row.source == source for row in held)
        counts[source] = min(max(wanted, 0), len(members))
    if settings.by == "random" or settings.target_clips is None:
        return random_subset(groups, counts, rng)
    target = settings.target_clips.test - sum(row.clips for row in held)
    return closest_subset(groups, counts, max(target, 0), rng)


def read_lists(path: Path, classes: Sequence[ClassRow]) -> dict[int, ClassSplit]:
    """The split of each class by a given list: a CSV `class_name,split`, or a folder of train, val and test `.list` files.

    Lines of `.list` files are `class` or `class/clip`, as in published lists. Classes in no list are `unused`.

    Raises:
        WorkError: the file is missing or malformed, a class is in two splits or unknown, or train or test is empty.
    """
    listed: dict[str, ClassSplit] = {}
    for name, split in _read_entries(path):
        if listed.setdefault(labels.key(name), split) != split:
            raise WorkError(f"split.file: {path}: class {name!r} is in {listed[labels.key(name)]} and in {split}")
    unknown = sorted(listed.keys() - {labels.key(row.class_name) for row in classes})
    if unknown:
        raise WorkError(f"split.file: {path}: the composite has no class {_first_of(unknown)}")
    splits: dict[int, ClassSplit] = {row.class_id: listed.get(labels.key(row.class_name), "unused") for row in classes}
    _check_not_empty(splits, f"split.file: {path}")
    return splits


def official_splits(clips: Iterable[CompositeRow], classes: Sequence[ClassRow]) -> dict[int, ClassSplit]:
    """The split of each class as the datasets' publishers have it.

    Raises:
        WorkError: the clips of a class are in several official splits or in none, or train or test is empty.
    """
    found: dict[int, set[str | None]] = {row.class_id: set() for row in classes}
    for clip in clips:
        if clip.status == "ok":
            found[clip.class_id].add(clip.official_split)
    splits: dict[int, ClassSplit] = {}
    for row in classes:
        (first, *others) = sorted(found[row.class_id], key=str) or [None]
        if others or first not in _BY_NAME:
            where = " and ".join(map(str, (first, *others)))
            raise WorkError(
                f"split.by is official: the official split of the clips of {row.class_name!r} is {where}, must be one "
                f"of {', '.join(SPLITS)}: only few-shot lists, such as kinetics100, split the classes"
            )
        splits[row.class_id] = _BY_NAME[first]
    _check_not_empty(splits, "split.by: official: the official split")
    return splits


def _read_earlier(classes: Iterable[ClassRow]) -> dict[int, ClassSplit]:
    """The splits of these classes in the splits.parquet that there is, by class_id.

    A class is known by its name; where an earlier split has the name in two splits, of two sources, by its id as well.
    """
    if not manifests.exists(SplitRow):
        print(f"split: split.freeze has no earlier {manifests.path_of(SplitRow)} to keep: all classes are assigned")
        return {}
    earlier: dict[str, dict[int, ClassSplit]] = {}
    for row in manifests.read(SplitRow):
        if row.split != "unused":
            earlier.setdefault(row.class_name, {})[row.class_id] = row.split
    kept: dict[int, ClassSplit] = {}
    for known in classes:
        splits = earlier.get(known.class_name, {})
        if known.class_id in splits:
            kept[known.class_id] = splits[known.class_id]
        elif len(set(splits.values())) == 1:
            kept[known.class_id] = next(iter(splits.values()))
    return kept


def _check_not_empty(splits: Mapping[int, ClassSplit], where: str) -> None:
    missing = {"train", "test"} - set(splits.values())
    if missing:
        raise WorkError(f"{where} has no {min(missing)} classes")


def _read_entries(path: Path) -> Iterator[tuple[str, ClassSplit]]:
    """Class names and their splits, as often as they are listed."""
    try:
        if path.is_dir():
            for split in SPLITS:
                for line in (path / f"{split}.list").read_text(encoding="utf-8").splitlines():
                    if line.strip():
                        yield line.split("/")[0], split
            return
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file, strict=True), 2):
                name, value = row.get("class_name"), row.get("split")
                if not name or value not in _BY_NAME:
                    allowed = ", ".join(SPLITS)
                    raise WorkError(
                        f"split.file: {path}, line {number}: class_name is {name!r}, split is {value!r}: "
                        f"must be a class and one of {allowed}"
                    )
                yield name, _BY_NAME[value]
    except FileNotFoundError as error:
        raise WorkError(f"split.file: {error.filename} does not exist") from None
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise WorkError(f"split.file: {path} cannot be read: {error}") from None


def _first_of(names: Sequence[str]) -> str:
    """`'a'`, or `'a' (and 2 more)`."""
    return f"{names[0]!r}" + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _apportion(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """`total` spread over the sources in proportion to their numbers of classes, by largest remainder."""
    everything = sum(sizes.values())
    exact = {source: total * size / everything for source, size in sizes.items()}
    shares = {source: int(share) for source, share in exact.items()}
    by_remainder = sorted(exact, key=lambda source: (shares[source] - exact[source], source))
    for source in by_remainder[: total - sum(shares.values())]:
        shares[source] += 1
    return shares


def _check_expected(rows: Sequence[SplitRow], settings: Settings) -> None:
    counts = Counter(row.split for row in rows)
    expected = settings.expected
    if expected is not None and (counts["train"], counts["test"]) != (expected.train, expected.test):
        deciding = {"file": "split.file", "official": "split.by: official"}.get(settings.by, "split.held_out")
        raise WorkError(
            f"the numbers of train and test classes are {counts['train']} and {counts['test']}, but split.expected is "
            f"{expected.train} and {expected.test}: {deciding} decides; set split.expected to null to accept any numbers"
        )


def _print_kept(rows: Sequence[SplitRow], kept: Mapping[int, ClassSplit]) -> None:
    drawn = sum(row.class_id not in kept and row.clips > 0 for row in rows)
    lost = sum(row.clips == 0 for row in rows)
    print(
        f"split: {len(rows) - drawn - lost:,} classes keep their split, {drawn:,} are assigned"
        + (f", {lost:,} have no clips now" if lost else "")
    )


def _print_summary(rows: Sequence[SplitRow], settings: Settings) -> None:
    parts = []
    for split in (*SPLITS, "unused"):
        sizes = [row.clips for row in rows if row.split == split]
        if sizes:
            parts.append(f"{split} {len(sizes)} classes, {sum(sizes):,} clips")
    print("split: " + "; ".join(parts))
    target = settings.target_clips
    if settings.by == "target" and target is not None:
        missed = sum(row.clips for row in rows if row.split == "test") - target.test
        if missed:
            choice = "choice of new classes" if settings.freeze else "choice of classes"
            print(f"split: target of {target.test:,} test clips missed by {missed:+,}: no {choice} is nearer")


def _print_shared_videos(clips: Iterable[CompositeRow], splits: Mapping[int, ClassSplit]) -> None:
    """Print how many source videos have clips in several splits: unavoidable where classes share a scene."""
    by_video: dict[tuple[str, str], set[ClassSplit]] = {}
    for row in clips:
        if row.status == "ok" and row.video_id:
            by_video.setdefault((row.source, row.video_id), set()).add(splits[row.class_id])
    shared = sum(len(found) > 1 for found in by_video.values())
    if shared:
        print(f"split: {shared:,} source videos have clips of classes in different splits (scenes shared by classes)")
