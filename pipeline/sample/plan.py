"""The content of the sample mirror: every clip, healthy or broken, drawn at random from one seed."""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from pipeline.sample.motions import Motion, motions
from pipeline.sample.render import ClipSpec

KINETICS_CLASSES, LABEL_SETS = 400, 118
CLIPS_PER_CLASS, RESERVE_PER_CLASS = 10, 1  # as `download` in params.yaml for the sample
MINI_CLASSES = 200
TRAIN_PARTS, VAL_PARTS = 6, 2

# The 26 TinyVIRAT classes, by name.
LABELS = (
    *("Opening", "Interacts", "Pull", "activity_carrying", "Entering", "vehicle_moving", "Exiting", "Loading"),
    *("Talking", "activity_running", "vehicle_turning_left", "vehicle_stopping", "Riding", "Closing"),
    *("activity_walking", "Push", "specialized_using_tool", "vehicle_starting", "specialized_miscellaneous"),
    *("activity_standing", "Transport_HeavyCarry", "activity_gesturing", "vehicle_turning_right"),
    *("specialized_talking_phone", "specialized_texting_phone", "Misc"),
)

# Kinds of damage, and the failure code that the pipeline has to report for each.
DAMAGE = {
    "empty": "unreadable_container",
    "no_index": "unreadable_container",  # truncated, and the index was at the end
    "web_page": "unreadable_container",
    "noise": "unreadable_container",
    "cut_short": "decode_error",  # truncated, with an index at the front that lists the missing frames
    "sound_only": "no_video_stream",
    "too_short": "too_short",
    "missing": "not_found",  # annotated, in no archive
}
_REPAIRABLE = ("empty", "no_index", "noise")


@dataclass(frozen=True)
class KineticsClip:
    """A Kinetics clip: a row of the annotation CSVs and a member of an archive."""

    youtube_id: str
    start: int  # seconds in the YouTube video
    label: str
    split: str
    spec: ClipSpec
    damage: str | None = None
    repaired: bool = False  # the replacement archive has a healthy copy

    @property
    def member(self) -> str:
        """Name of the archive member."""
        return f"{self.youtube_id}_{self.start:06d}_{self.start + 10:06d}.mp4"

    @property
    def clip_id(self) -> str:
        """`clip_id` in the manifests."""
        return f"k400-{self.youtube_id}-{self.start:06d}-{self.start + 10:06d}"


@dataclass(frozen=True)
class Tube:
    """A TinyVIRAT clip: the track of one person or vehicle in a VIRAT video."""

    number: str
    scene: str  # name of the VIRAT video
    labels: tuple[str, ...]
    split: str
    spec: ClipSpec
    damage: str | None = None

    @property
    def clip_id(self) -> str:
        """`clip_id` in the manifests."""
        return f"tinyvirat-{self.split}-{self.number}"


@dataclass(frozen=True)
class Plan:
    """All clips of the mirror, in the order in which they were drawn."""

    seed: int
    kinetics: tuple[KineticsClip, ...]
    mini_labels: frozenset[str]
    tubes: tuple[Tube, ...]


def make_plan(seed: int = 0, classes: int = KINETICS_CLASSES, label_sets: int = LABEL_SETS) -> Plan:
    """The plan for a seed; fewer `classes` and `label_sets` than by default give a smaller mirror for tests."""
    rng = random.Random(f"sample-{seed}")
    available = motions(KINETICS_CLASSES + LABEL_SETS)
    by_name = {motion.name: motion for motion in available[:KINETICS_CLASSES]}
    labels = sorted(by_name)[:classes]
    kinetics = tuple(_kinetics(rng, [by_name[label] for label in labels]))
    mini = frozenset(rng.sample(labels, min(MINI_CLASSES, (classes + 1) // 2)))
    tubes = tuple(_tubes(rng, available[KINETICS_CLASSES : KINETICS_CLASSES + label_sets]))
    return Plan(seed, kinetics, mini, tubes)


def _kinetics(rng: random.Random, classes: list[Motion]) -> Iterator[KineticsClip]:
    """Eleven healthy clips per class; one or two more in every tenth; a broken one in nearly every fifth."""
    damages: list[str | None] = [kind for kind in DAMAGE for _ in range(9)]
    rng.shuffle(damages)
    for number, motion in enumerate(classes):
        extra = rng.randint(1, 2) if number % 10 == 3 else 0
        broken = damages[number // 5 : number // 5 + 1] if number % 5 == 0 else []
        for index, damage in enumerate([*[None] * (CLIPS_PER_CLASS + RESERVE_PER_CLASS + extra), *broken]):
            youtube_id = _youtube_id(rng)
            clip = KineticsClip(
                youtube_id=youtube_id,
                start=rng.randrange(0, 240),
                label=motion.name,
                split="val" if index == 0 else "train",
                spec=_kinetics_spec(rng, f"k400/{youtube_id}", motion),
            )
            if damage:
                spec = replace(clip.spec, codec="libx264", variable_rate=False, faststart=damage == "cut_short")
                spec = replace(spec, frames=6, fps=Fraction(12)) if damage == "too_short" else spec
                repaired = damage in _REPAIRABLE and rng.random() < 0.5
                clip = replace(clip, damage=damage, spec=spec, repaired=repaired)
            yield clip


def _kinetics_spec(rng: random.Random, key: str, motion: Motion) -> ClipSpec:
    width, height = rng.choice(((96, 72), (112, 84), (112, 64), (128, 96), (72, 96), (84, 84)))
    common, rare = (10, 12, 12, Fraction(25, 2), 15), (24, 25, Fraction(30000, 1001), 30)
    fps = Fraction(rng.choice(common if rng.random() < 0.9 else rare))
    codec = "libx264"
    if rng.random() < 1 / 40:
        codec = rng.choice(("libx265", "mpeg4", "libvpx-vp9"))
    return ClipSpec(
        key=key,
        motion=motion,
        width=width,
        height=height,
        frames=round(10 * fps),
        fps=fps,
        codec=codec,
        gop=rng.choice((12, 30, 60, 250)),
        b_frames=rng.choice((0, 2, 3)),
        faststart=rng.random() < 0.3,
        variable_rate=codec == "libx264" and rng.random() < 0.04,
        rotation=rng.choice((90, 180, 270)) if rng.random() < 0.02 else 0,
    )


def _tubes(rng: random.Random, classes: tuple[Motion, ...]) -> Iterator[Tube]:
    """Ten or eleven clips per frequent label set, some clips of rarer sets that contain one, and some broken clips."""
    frequent = _label_sets(rng, len(classes))
    wanted: list[tuple[tuple[str, ...], Motion, str | None]] = []
    for labels, motion in zip(frequent, classes, strict=True):
        wanted += [(labels, motion, None)] * (CLIPS_PER_CLASS + rng.randint(0, 1))
    kept = {frozenset(labels) for labels in frequent}
    for base, motion in list(zip(frequent, classes, strict=True))[: max(2, len(classes) // 12)]:
        rarer = (*base, *rng.sample([label for label in LABELS if label not in base], 2))
        if frozenset(rarer) not in kept:
            kept.add(frozenset(rarer))
            wanted += [(rarer, motion, None)] * rng.randint(2, 4)
    for kind in ("empty", "no_index", "cut_short", "too_short", "missing", "missing")[: len(classes) // 4]:
        wanted.append((frequent[0], classes[0], kind))
    rng.shuffle(wanted)
    scenes = [f"VIRAT_S_{rng.randrange(10**6):06d}_{n % 10:02d}_000{n:03d}_000{n + 90:03d}" for n in range(40)]
    counts = {"train": 0, "test": 0}
    for labels, motion, damage in wanted:
        split = "train" if rng.random() < 0.6 else "test"
        number = f"{counts[split]:05d}"
        counts[split] += 1
        spec = ClipSpec(
            key=f"tinyvirat/{split}/{number}",
            motion=motion,
            width=(side := rng.randrange(24, 102, 2)),
            height=side,
            frames=5 if damage == "too_short" else rng.randint(60, 150),
            fps=Fraction(30),
            gop=rng.choice((12, 60)),
            faststart=damage == "cut_short",
        )
        shuffled = tuple(rng.sample(labels, len(labels)))
        yield Tube(number, rng.choice(scenes), shuffled, split, spec, damage)


def _label_sets(rng: random.Random, count: int) -> list[tuple[str, ...]]:
    """The first `count` label sets: all single labels, then random pairs and triples, each set once."""
    sets: list[tuple[str, ...]] = [(label,) for label in LABELS[:count]]
    while len(sets) < count:
        labels = tuple(sorted(rng.sample(LABELS, rng.choice((2, 2, 3)))))
        if labels not in sets:
            sets.append(labels)
    return sets


def _youtube_id(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits + "-_", k=11))
