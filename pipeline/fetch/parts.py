"""One hosted archive of many clips, streamed: wanted members are kept, nothing else touches the disk.

What has been read is noted as it goes, so that a stream that broke or was killed is taken up where it was, in the
middle of the archive. Once read to its end, the list of its members stays, and it is not opened again for them.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.files import write_json
from pipeline.fetch.archives import Place, TarStream
from pipeline.fetch.hosts import Hosts, Stream
from pipeline.records.failures import ClipError, Failure

_NOTE_EVERY = (4 << 20, 0.1)  # bytes unpacked or seconds, whichever comes first

Choose = Callable[[str], Path | None]


@dataclass
class _Progress:
    """What is noted of an archive."""

    names: list[str] = field(default_factory=list)  # of its members so far, in order
    refused: dict[str, str] = field(default_factory=dict)  # members that were chosen and not written: why
    version: str | None = None
    place: Place | None = None  # behind the last of `names`

    def to_json(self) -> dict[str, Any]:
        place = self.place.to_json() if self.place else None
        return {"names": self.names, "refused": self.refused, "version": self.version, "place": place}


class Part:
    """The archive at `url`; `folder` holds the notes on it."""

    def __init__(self, hosts: Hosts, url: str, folder: Path) -> None:
        self.url, self._hosts = url, hosts
        name = "-".join(url.split("/")[-2:])
        self._list, self._note = folder / f"{name}.json", folder / f".resume-{name}.json"
        whole = _read(self._list)
        self.whole = whole is not None  # it has been read to its end
        self._progress = whole or _Progress()

    @property
    def names(self) -> list[str]:
        """The members that have been seen, in order."""
        return self._progress.names

    @property
    def refused(self) -> dict[str, str]:
        """Chosen members that no clip can be, and why."""
        return self._progress.refused

    def stream(self, begin: Callable[[], Choose]) -> None:
        """Read the archive; what `begin` gives is asked for each member in order where to put it. Files that exist stay.

        Raises:
            ClipError: see `RemoteFile` and `TarStream`; `names` tells how far it came. After checksum_mismatch nothing
                that this call wrote is kept, as any of it may be damaged.
        """
        written: list[Path] = []
        note = _read(self._note)
        try:
            with self._open(note) as stream:
                self._read(stream, begin(), written)
        except ClipError as error:
            if error.code is not Failure.CHECKSUM_MISMATCH:
                raise
            self._note.unlink(missing_ok=True)
            for path in written:
                path.unlink(missing_ok=True)
            if note is None:
                raise
            self.stream(begin)  # the file was no longer the one that was begun
            return
        self._progress.place = None
        write_json(self._list, self._progress.to_json())
        self._note.unlink(missing_ok=True)
        self.whole = True

    def _open(self, note: _Progress | None) -> AbstractContextManager[Stream]:
        self._progress = note or _Progress()
        if note is None or note.place is None:
            return self._hosts.open(self.url)
        return self._hosts.open(self.url, position=note.place.mark.packed, version=note.version)

    def _read(self, stream: Stream, choose: Choose, written: list[Path]) -> None:
        progress = self._progress
        progress.version = stream.version
        for name in progress.names:
            choose(name)
        tar = TarStream(stream.file, progress.place)
        noted_at, noted = time.monotonic(), progress.place.offset if progress.place else 0
        for member in tar:
            target = choose(member.name)
            progress.names.append(member.name)
            if target is not None and not target.exists():
                try:
                    member.check()
                    self._hosts.disk.spend(member.size, member.name)
                    member.write(target)
                    written.append(target)
                except ClipError as error:
                    if error.code is not Failure.UNSAFE_PATH:
                        progress.names.pop()
                        raise
                    progress.refused[member.name] = error.detail
            size, seconds = _NOTE_EVERY
            due = member.after is not None and (member.after - noted >= size or time.monotonic() - noted_at >= seconds)
            if due and member.after is not None and progress.version is not None:
                progress.place = tar.place(member.after)
                write_json(self._note, progress.to_json())
                noted_at, noted = time.monotonic(), member.after


def _read(path: Path) -> _Progress | None:
    """What was noted at `path`; None if nothing of use."""
    try:
        value = json.loads(path.read_text())
        place = Place.from_json(value["place"]) if value["place"] else None
        names, refused = [str(name) for name in value["names"]], dict(value["refused"])
        return _Progress(names, refused, value["version"], place)
    except (OSError, ValueError, KeyError, TypeError):
        return None
