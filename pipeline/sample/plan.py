"""What the sample mirror holds: every clip, healthy or broken, drawn by chance from one seed."""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from pipeline.sample.footage import Footage
from pipeline.sample.motions import Motion, motions

KINETICS_CLASSES, LABEL_SETS = 400, 118
WANTED, RESERVE = 10, 1  # clips a class, as params.yaml asks of the sample
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

# Kinds of damage, and what the pipeline is to say of each.
DAMAGE = {
    "empty": "unreadable_container",
    "no_index": "unreadable_container",  # the end is missing, and the index was at the end
    "web_page": "unreadable_container",
    "noise": "unreadable_container",
    "cut_short": "decode_error",  # the index at the front names frames that are not there
    "sound_only": "no_video_stream",
    "too_short": "too_short",
    "missing": "not_found",  # annotated, in no archive
}
_REPAIRABLE = ("empty", "no_index", "noise")


@dataclass(frozen=True)
class KineticsClip:
    """A row of the Kinetics CSVs and the member that goes with it."""

    youtube_id: str
    start: int
    label: str
    split: str
    footage: Footage
    damage: str | None = None
    repaired: bool = False

    @property
    def member(self) -> str:
        """Its name in the archives."""
        return f"{self.youtube_id}_{self.start:06d}_{self.start + 10:06d}.mp4"

    @property
    def clip_id(self) -> str:
        """Its name in the manifests."""
        return f"k400-{self.youtube_id}-{self.start:06d}-{self.start + 10:06d}"


@dataclass(frozen=True)
class Tube:
    """A TinyVIRAT clip."""

    number: str
    scene: str
    labels: tuple[str, ...]
    split: str
    footage: Footage
    damage: str | None = None

    @property
    def clip_id(self) -> str:
        """Its name in the manifests."""
        return f"tinyvirat-{self.split}-{self.number}"


@dataclass(frozen=True)
class Plan:
    """Everything in the mirror, in the order of its annotation lists."""

    seed: int
    kinetics: tuple[KineticsClip, ...]
    mini_labels: frozenset[str]
    tubes: tuple[Tube, ...]


def make_plan(seed: int = 0, classes: int = KINETICS_CLASSES, label_sets: int = LABEL_SETS) -> Plan:
    """Draw the plan; fewer classes and label sets make a smaller mirror for tests."""
    chance = random.Random(f"sample-{seed}")
    every = motions(KINETICS_CLASSES + LABEL_SETS)
    labels = sorted(motion.name for motion in every[:KINETICS_CLASSES])[:classes]
    by_name = {motion.name: motion for motion in every}
    kinetics = tuple(_kinetics(chance, [by_name[label] for label in labels]))
    mini = frozenset(chance.sample(labels, min(MINI_CLASSES, (classes + 1) // 2)))
    tubes = tuple(_tubes(chance, every[KINETICS_CLASSES : KINETICS_CLASSES + label_sets]))
    return Plan(seed, kinetics, mini, tubes)


def _kinetics(chance: random.Random, classes: list[Motion]) -> Iterator[KineticsClip]:
    """Per class ten clips and a reserve; in some classes a few more, in others broken ones besides."""
    damages: list[str | None] = [kind for kind in DAMAGE for _ in range(9)]
    chance.shuffle(damages)
    for number, motion in enumerate(classes):
        spare = chance.randint(1, 2) if number % 10 == 3 else 0
        broken = damages[number // 5 :: 80][:1] if number % 5 == 0 else []
        for index, damage in enumerate([*[None] * (WANTED + RESERVE + spare), *broken]):
            youtube_id = _youtube_id(chance)
            clip = KineticsClip(
                youtube_id=youtube_id,
                start=chance.randrange(0, 240),
                label=motion.name,
                split="val" if index == 0 else "train",
                footage=_kinetics_footage(chance, f"k400/{youtube_id}", motion),
            )
            if damage:
                footage = replace(clip.footage, codec="libx264", variable_rate=False, faststart=damage == "cut_short")
                footage = replace(footage, frames=6, fps=Fraction(12)) if damage == "too_short" else footage
                repaired = damage in _REPAIRABLE and chance.random() < 0.5
                clip = replace(clip, damage=damage, footage=footage, repaired=repaired)
            yield clip


def _kinetics_footage(chance: random.Random, key: str, motion: Motion) -> Footage:
    width, height = chance.choice(((96, 72), (112, 84), (112, 64), (128, 96), (72, 96), (84, 84)))
    common, rare = (10, 12, 12, Fraction(25, 2), 15), (24, 25, Fraction(30000, 1001), 30)
    fps = Fraction(chance.choice(common if chance.random() < 0.9 else rare))
    codec = "libx264"
    if chance.random() < 1 / 40:
        codec = chance.choice(("libx265", "mpeg4", "libvpx-vp9"))
    return Footage(
        key=key,
        motion=motion,
        width=width,
        height=height,
        frames=round(10 * fps),
        fps=fps,
        codec=codec,
        gop=chance.choice((12, 30, 60, 250)),
        b_frames=chance.choice((0, 2, 3)),
        faststart=chance.random() < 0.3,
        variable_rate=codec == "libx264" and chance.random() < 0.04,
        rotation=chance.choice((90, 180, 270)) if chance.random() < 0.02 else 0,
    )


def _tubes(chance: random.Random, classes: tuple[Motion, ...]) -> Iterator[Tube]:
    """Per frequent label set ten or eleven clips; then rarer sets, and broken clips besides."""
    frequent = _label_sets(chance, len(classes))
    wanted: list[tuple[tuple[str, ...], Motion, str | None]] = []
    for labels, motion in zip(frequent, classes, strict=True):
        wanted += [(labels, motion, None)] * (WANTED + chance.randint(0, 1))
    kept = {frozenset(labels) for labels in frequent}
    for base, motion in list(zip(frequent, classes, strict=True))[: max(2, len(classes) // 12)]:
        rarer = (*base, *chance.sample([label for label in LABELS if label not in base], 2))
        if frozenset(rarer) not in kept:
            kept.add(frozenset(rarer))
            wanted += [(rarer, motion, None)] * chance.randint(2, 4)
    for kind in ("empty", "no_index", "cut_short", "too_short", "missing", "missing")[: len(classes) // 4]:
        wanted.append((frequent[0], classes[0], kind))
    chance.shuffle(wanted)
    scenes = [f"VIRAT_S_{chance.randrange(10**6):06d}_{n % 10:02d}_000{n:03d}_000{n + 90:03d}" for n in range(40)]
    counts = {"train": 0, "test": 0}
    for labels, motion, damage in wanted:
        split = "train" if chance.random() < 0.6 else "test"
        number = f"{counts[split]:05d}"
        counts[split] += 1
        footage = Footage(
            key=f"tinyvirat/{split}/{number}",
            motion=motion,
            width=(side := chance.randrange(24, 102, 2)),
            height=side,
            frames=5 if damage == "too_short" else chance.randint(60, 150),
            fps=Fraction(30),
            gop=chance.choice((12, 60)),
            faststart=damage == "cut_short",
        )
        shuffled = tuple(chance.sample(labels, len(labels)))
        yield Tube(number, chance.choice(scenes), shuffled, split, footage, damage)


def _label_sets(chance: random.Random, count: int) -> list[tuple[str, ...]]:
    """All single labels first, then pairs and triples, each set once."""
    sets: list[tuple[str, ...]] = [(label,) for label in LABELS[:count]]
    while len(sets) < count:
        labels = tuple(sorted(chance.sample(LABELS, chance.choice((2, 2, 3)))))
        if labels not in sets:
            sets.append(labels)
    return sets


def _youtube_id(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_letters + string.digits + "-_", k=11))
