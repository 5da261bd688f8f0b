"""split: hold out a fifth of the classes, by source in proportion, so that clip totals meet the wanted ones."""

import csv
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import WorkError
from pipeline import params
from pipeline.composite import labels, subset_sum
from pipeline.params import Split
from pipeline.records import manifests
from pipeline.records.manifests import SIDES, Row


def main() -> None:
    """Read classes.parquet and clips.parquet, write splits.parquet."""
    settings = params.load().split
    classes = manifests.read("classes")
    if len(classes) < 2:
        raise WorkError(f"{len(classes)} class cannot be split: training and evaluation need classes of their own")
    if settings.by == "file":
        side = read_lists(Path(settings.file or ""), classes)
    else:
        held_out = choose(classes, settings)
        side = {row["class_id"]: "test" if row["class_id"] in held_out else "train" for row in classes}
    rows = [row | {"split": side[row["class_id"]]} for row in classes]
    _check_expected(rows, settings)
    manifests.write("splits", rows)
    _say(rows, settings)
    _say_shared_scenes(side)


def choose(classes: Sequence[Row], settings: Split) -> set[int]:
    """Class ids to hold out: from each source in proportion, drawn by seed among the choices that meet the clip target."""
    drawn = random.Random(f"split-{settings.seed}")
    total = min(len(classes) - 1, max(1, round(len(classes) * settings.held_out)))
    groups: dict[str, list[subset_sum.Member]] = {}
    for row in classes:
        groups.setdefault(row["source"], []).append((row["class_id"], row["clips"]))
    counts = _shares(Counter(row["source"] for row in classes), total)
    if settings.by == "random" or settings.target_clips is None:
        return subset_sum.draw(groups, counts, drawn)
    return subset_sum.meet(groups, counts, settings.target_clips.test, drawn)


def read_lists(path: Path, classes: Sequence[Row]) -> dict[int, str]:
    """Each class's side by a given list: a CSV `class_name,split`, or a folder with train, val and test `.list` files.

    Lines of `.list` files are `class` or `class/clip`, as the field's lists are. Classes in no list are `unused`.

    Raises:
        WorkError: nothing of the kind is there, a class is on two sides or unknown, or training or test has none.
    """
    named: dict[str, str] = {}
    for name, side in _listed(path):
        if named.setdefault(labels.key(name), side) != side:
            raise WorkError(f"split.file: {path}: class {name!r} is in {named[labels.key(name)]} and in {side}")
    known = {labels.key(row["class_name"]) for row in classes}
    strangers = sorted(named.keys() - known)
    if strangers:
        raise WorkError(
            f"split.file: {path}: {len(strangers)} classes are not in the composite, {strangers[0]!r} for one"
        )
    sides = {row["class_id"]: named.get(labels.key(row["class_name"]), "unused") for row in classes}
    missing = {"train", "test"} - set(sides.values())
    if missing:
        raise WorkError(f"split.file: {path} has no {min(missing)} classes")
    return sides


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    try:
        if path.is_dir():
            for side in SIDES:
                for line in (path / f"{side}.list").read_text(encoding="utf-8").splitlines():
                    if line.strip():
                        yield line.split("/")[0], side
            return
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file, strict=True), 2):
                if row.get("split") not in SIDES or not row.get("class_name"):
                    raise WorkError(f"split.file: {path}, line {number}: not class_name,split with {', '.join(SIDES)}")
                yield row["class_name"], row["split"]
    except FileNotFoundError as error:
        raise WorkError(f"split.file: {error.filename} is not here") from None
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise WorkError(f"split.file: {path} cannot be read: {error}") from None


def _shares(sizes: Counter[str], total: int) -> dict[str, int]:
    """`total` spread over the sources in proportion to their classes (largest remainder)."""
    everything = sum(sizes.values())
    exact = {source: total * size / everything for source, size in sizes.items()}
    shares = {source: int(share) for source, share in exact.items()}
    by_remainder = sorted(exact, key=lambda source: (shares[source] - exact[source], source))
    for source in by_remainder[: total - sum(shares.values())]:
        shares[source] += 1
    return shares


def _check_expected(rows: Sequence[Row], settings: Split) -> None:
    counts = Counter(row["split"] for row in rows)
    wanted = settings.expected
    if wanted is not None and (counts["train"], counts["test"]) != (wanted.train, wanted.test):
        raise WorkError(
            f"{counts['train']} train and {counts['test']} test classes, but split.expected is {wanted.train} and "
            f"{wanted.test}: split.held_out decides; set split.expected to null to take what there is"
        )


def _say(rows: Sequence[Row], settings: Split) -> None:
    clips: Counter[str] = Counter()
    for row in rows:
        clips[row["split"]] += row["clips"]
    classes = Counter(row["split"] for row in rows)
    parts = [f"{name} {classes[name]} classes, {clips[name]:,} clips" for name in (*SIDES, "unused") if classes[name]]
    print("split: " + "; ".join(parts))
    target = settings.target_clips
    if settings.by == "target" and target is not None and clips["test"] != target.test:
        missed = clips["test"] - target.test
        print(f"split: target of {target.test:,} test clips missed by {missed:+,}: no choice of classes is nearer")


def _say_shared_scenes(side: dict[int, str]) -> None:
    """Scenes that have clips on both sides cannot be separated where classes share them; say how many there are."""
    seen: dict[str, set[str]] = {}
    for row in manifests.read("clips"):
        if row["status"] == "ok" and row["video_id"]:
            seen.setdefault(f"{row['source']}/{row['video_id']}", set()).add(side[row["class_id"]])
    shared = sum(len(sides) > 1 for sides in seen.values())
    if shared:
        print(f"split: {shared:,} source videos have clips of classes on different sides (scenes shared by classes)")
