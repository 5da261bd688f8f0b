"""A file on disk that is still being downloaded, and the note by which another process resumes it."""

import json
import os
from pathlib import Path
from typing import IO

from common.files import write_json
from pipeline.fetch.disk import Disk


def partial_path(target: Path) -> Path:
    """Where the bytes of an unfinished download to `target` are."""
    return target.with_name(f".resume-{target.name}")


class PartialFile:
    """The first bytes of `address`, in `.resume-<name>` beside `target`; a note holds the version of the hosted file.

    Bytes without such a note are not trusted to be of the same file: they are downloaded again.
    """

    def __init__(self, address: str, target: Path) -> None:
        self.target, self._address = target, address
        self._path = partial_path(target)
        self._note = target.with_name(f".resume-{target.name}.json")
        self.position = 0  # bytes received by earlier calls or processes
        self.version: str | None = None
        self._size: int | None = None
        try:
            note = json.loads(self._note.read_text())
            position = self._path.stat().st_size
            if note["address"] == address and note["version"] is not None and position:
                self.position, self.version, self._size = position, str(note["version"]), note["size"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no note, or a damaged one: start at byte 0

    @property
    def whole(self) -> bool:
        """Whether every byte is here; False as well if the host gives no size."""
        return self._size is not None and self.position == self._size

    def open(self, version: str | None, size: int | None) -> IO[bytes]:
        """Open the file for appending bytes of this `version`."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab" if self.position else "wb")
        write_json(self._note, {"address": self._address, "version": version, "size": size})
        return file

    def finish(self) -> None:
        """Flush the file to disk and rename it to `target`."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        self._path.replace(self.target)
        self._note.unlink(missing_ok=True)

    def discard(self, disk: Disk) -> None:
        """Delete bytes and note."""
        self._note.unlink(missing_ok=True)
        disk.delete(self._path)
