"""What `download` would fetch for one source, in numbers and in words: `download --dry-run`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


def size_text(count: int) -> str:
    """Bytes for people: `1.5 GB`, or `26.5 MB` below a gigabyte."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


@dataclass(frozen=True)
class ClassPlan:
    """One class: clips that are wanted of it, and clips that carry its label and no other."""

    wanted: int
    annotated: int


@dataclass(frozen=True)
class FilesPlan:
    """Files that are fetched together: the archives of a split, a zip, or the videos of a folder.

    Args:
        needed: about how many of them.
        listed: how many there are.
        bytes: of the needed ones; None: their host gives no sizes.
        kept_bytes: of the clips that are kept of them; None: unknown before the download.
    """

    name: str
    needed: int
    listed: int
    bytes: int | None
    kept_bytes: int | None = None


@dataclass(frozen=True)
class Plan:
    """What is fetched for a source. A count that is None is known after the download only.

    Args:
        text: lines for people.
        annotated: clips on the lists.
        wanted: clips that the composite is to have.
        reserve: clips beyond them, which replace broken ones.
        lost: annotated clips that cannot be fetched, by failure code.
        classes: by label.
    """

    text: tuple[str, ...]
    files: tuple[FilesPlan, ...] = ()
    annotated: int | None = None
    wanted: int | None = None
    reserve: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, ClassPlan] = field(default_factory=dict)

    @property
    def bytes(self) -> int | None:
        """Of all files that are needed; None: the size of one is unknown."""
        sizes = [files.bytes for files in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)
