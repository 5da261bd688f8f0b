"""A shard on disk: where its filmstrips are, and whether it holds exactly the clips that it should."""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.composite import samples
from pipeline.composite.layout import Member


@dataclass(frozen=True)
class Place:
    """Offset and length of a filmstrip in its tar, in bytes."""

    offset: int
    length: int


@dataclass(frozen=True)
class Written:
    """A finished tar: its path, the place of each clip's filmstrip in the order of the clips, and the tar's digest."""

    path: str
    places: tuple[Place, ...]
    sha256: str


def describe(path: Path, members: Sequence[Member]) -> Written:
    """The places and the digest of a tar that holds these clips."""
    with tarfile.open(path, "r:") as tar:
        places = {entry.name: Place(entry.offset_data, entry.size) for entry in tar}
    return Written(path.as_posix(), tuple(places[filmstrip_name(member)] for member in members), _digest(path))


def describe_equal(path: Path, members: Sequence[Member], fps: int) -> Written | None:
    """As `describe` if every byte of the file is as `shard` would write it for these clips; None if not, or without a file."""
    layout, size = hashlib.sha256(), 0
    try:
        with tarfile.open(path, "r:") as tar:
            for name, expected in _contents(members, fps):
                entry = tar.next()
                file = tar.extractfile(entry) if entry is not None and entry.name == name else None
                content = file.read() if file is not None else None
                if content is None or expected not in (content, hashlib.sha256(content).hexdigest()):
                    return None
                bytes_ = samples.tar_member(name, content)
                layout.update(bytes_)
                size += len(bytes_)
        layout.update(samples.tar_end(size))
        found = describe(path, members)
    except (OSError, KeyError, tarfile.TarError):
        return None
    return found if found.sha256 == layout.hexdigest() else None


def filmstrip_name(member: Member) -> str:
    """Name of the clip's filmstrip in its tar."""
    return f"{member.clip.clip_id}{Path(member.clip.path).suffix}"


def _contents(members: Sequence[Member], fps: int) -> Iterator[tuple[str, bytes | str]]:
    """Names of the members of a tar, and the content of each, or of a filmstrip its sha256."""
    for member in members:
        clip = member.clip
        yield filmstrip_name(member), clip.sha256
        yield f"{clip.clip_id}.json", samples.description(clip, member.split, fps)
        yield f"{clip.clip_id}.cls", samples.class_member(clip.class_id)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
