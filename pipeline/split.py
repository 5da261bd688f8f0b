"""split: hold out a fifth of the classes, by source in proportion, so that clip totals meet the wanted ones."""

import random
from collections import Counter
from collections.abc import Sequence

from common.errors import WorkError
from pipeline import manifests, params
from pipeline.manifests import Row
from pipeline.params import Split


def main() -> None:
    """Read classes.parquet and clips.parquet, write splits.parquet."""
    settings = params.load().split
    classes = manifests.read("classes")
    if len(classes) < 2:
        raise WorkError(f"{len(classes)} class cannot be split: training and evaluation need classes of their own")
    held_out = choose(classes, settings)
    rows = [row | {"split": "test" if row["class_id"] in held_out else "train"} for row in classes]
    _check_expected(rows, settings)
    manifests.write("splits", rows)
    _say(rows, settings)
    _say_shared_scenes({row["class_id"]: row["split"] for row in rows})


def choose(classes: Sequence[Row], settings: Split) -> set[int]:
    """Class ids to hold out: drawn by seed within each source, then swapped until the clip total meets its target."""
    drawn = random.Random(f"split-{settings.seed}")
    total = min(len(classes) - 1, max(1, round(len(classes) * settings.held_out)))
    held_out: set[int] = set()
    for source, count in _shares(Counter(row["source"] for row in classes), total).items():
        ids = sorted(row["class_id"] for row in classes if row["source"] == source)
        held_out |= set(drawn.sample(ids, count))
    if settings.target_clips is not None:
        held_out = _meet(classes, held_out, settings.target_clips.test, drawn)
    return held_out


def _shares(sizes: Counter[str], total: int) -> dict[str, int]:
    """`total` spread over the sources in proportion to their classes (largest remainder)."""
    everything = sum(sizes.values())
    exact = {source: total * size / everything for source, size in sizes.items()}
    shares = {source: int(share) for source, share in exact.items()}
    by_remainder = sorted(exact, key=lambda source: (shares[source] - exact[source], source))
    for source in by_remainder[: total - sum(shares.values())]:
        shares[source] += 1
    return shares


def _meet(classes: Sequence[Row], held_out: set[int], target: int, drawn: random.Random) -> set[int]:
    """Swap classes of one source, the best swap first, until the clips held out are `target` or as near as swaps get."""
    clips = {row["class_id"]: row["clips"] for row in classes}
    source = {row["class_id"]: row["source"] for row in classes}
    held = set(held_out)
    gap = target - sum(clips[number] for number in held)
    while gap:
        # By source and size, one candidate each: what matters of a class here is how many clips it has.
        inside = _one_of_each(sorted(held), source, clips, drawn)
        outside = _one_of_each(sorted(set(clips) - held), source, clips, drawn)
        pairs = [(leave, enter) for leave in inside for enter in outside if source[leave] == source[enter]]
        best = min(pairs, key=lambda pair: abs(gap - clips[pair[1]] + clips[pair[0]]), default=None)
        if best is None or abs(gap - clips[best[1]] + clips[best[0]]) >= abs(gap):
            break
        held = held - {best[0]} | {best[1]}
        gap -= clips[best[1]] - clips[best[0]]
    return held


def _one_of_each(ids: list[int], source: dict[int, str], clips: dict[int, int], drawn: random.Random) -> list[int]:
    drawn.shuffle(ids)
    return list({(source[number], clips[number]): number for number in ids}.values())


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
    parts = [f"{name} {classes[name]} classes, {clips[name]:,} clips" for name in ("train", "test")]
    print("split: " + "; ".join(parts))
    target = settings.target_clips
    if target is not None and clips["test"] != target.test:
        print(
            f"split: target of {target.test:,} test clips missed by {clips['test'] - target.test:+,}: no swap is nearer"
        )


def _say_shared_scenes(side: dict[int, str]) -> None:
    """Scenes that have clips on both sides cannot be separated where classes share them; say how many there are."""
    seen: dict[str, set[str]] = {}
    for row in manifests.read("clips"):
        if row["status"] == "ok" and row["video_id"]:
            seen.setdefault(f"{row['source']}/{row['video_id']}", set()).add(side[row["class_id"]])
    shared = sum(len(sides) > 1 for sides in seen.values())
    if shared:
        print(f"split: {shared:,} source videos have clips of train and of test classes (scenes shared by classes)")
