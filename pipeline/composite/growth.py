"""What merge keeps of its own earlier result, with `split.freeze`: the clips that come first, and class ids and names."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.composite import labels
from pipeline.composite.classes import ClassName, number_classes
from pipeline.records import manifests
from pipeline.records.rows import ClassRow, CompositeRow


@dataclass(frozen=True)
class Earlier:
    """An earlier composite.

    Args:
        clips: ids of its clips.
        classes: its classes and their ids.
    """

    clips: Collection[str] = frozenset()
    classes: Mapping[ClassName, int] = field(default_factory=dict)

    def named(self, classes: Mapping[str, ClassName]) -> dict[str, ClassName]:
        """The class of each clip, by its earlier name where only the spelling differs, which more clips may have changed."""
        known = {_key(name): name for name in self.classes}
        return {clip_id: known.get(_key(name), name) for clip_id, name in classes.items()}

    def number(self, names: Iterable[ClassName], sources: Sequence[str]) -> dict[ClassName, int]:
        """Ids of the earlier classes, also of those without a clip now, and of `names`, whose new ones follow the highest.

        Args:
            sources: in the order in which classes are numbered.
        """
        first = max(self.classes.values(), default=-1) + 1
        new = number_classes((name for name in names if name not in self.classes), sources)
        return {**self.classes, **{name: first + number for name, number in new.items()}}


@dataclass(frozen=True)
class _Clip:
    clip_id: str
    status: str


@dataclass(frozen=True)
class _Class:
    class_id: int
    class_name: str
    source: str
    member_labels: tuple[str, ...]


def read_earlier() -> Earlier:
    """The composite in clips.parquet and classes.parquet; an empty one if there is none."""
    if not (manifests.exists(CompositeRow) and manifests.exists(ClassRow)):
        return Earlier()
    clips = (row.clip_id for row in manifests.read_part(CompositeRow, _Clip) if row.status == "ok")
    classes = manifests.read_part(ClassRow, _Class)
    return Earlier(
        frozenset(clips), {ClassName(row.source, row.class_name, row.member_labels): row.class_id for row in classes}
    )


def _key(name: ClassName) -> tuple[str, str]:
    return name.source, labels.key(name.name)
