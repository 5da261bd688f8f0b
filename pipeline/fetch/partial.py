"""Unfinished downloads on disk, which another process can resume."""

import hashlib
import json
import os
from pathlib import Path
from typing import IO

from common.files import write_json
from pipeline.fetch.disk import Disk


def partial_path(target: Path) -> Path:
    """The file that has the bytes of an unfinished download to `target`."""
    return target.with_name(f".resume-{target.name}")


class PartialFile:
    """The first bytes of the file at `address`, in `.resume-<name>` beside `target`.

    A note beside it has the version of the hosted file. Without a version, the bytes may be of another file: they are
    downloaded again.
    """

    def __init__(self, address: str, target: Path) -> None:
        self.target = target
        self._digest = hashlib.sha256(address.encode()).hexdigest()  # the URL of a mirror may contain a password
        self._path = partial_path(target)
        self._note = target.with_name(f".resume-{target.name}.json")
        self.position = 0  # bytes that an earlier call or process received
        self.version: str | None = None
        self._size: int | None = None
        try:
            note = json.loads(self._note.read_text())
            position = self._path.stat().st_size
            if note["address_sha256"] == self._digest and note["version"] is not None and position:
                self.position, self.version, self._size = position, str(note["version"]), note["size"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no note, or a damaged one: start at byte 0

    def tail(self, size: int) -> bytes:
        """The last `size` bytes, or all if there are fewer; b"" if none count."""
        if not self.position:
            return b""
        with self._path.open("rb") as file:
            file.seek(max(0, self.position - size))
            return file.read(size)

    @property
    def whole(self) -> bool:
        """Whether all bytes were received before; False as well if the host gives no size."""
        return self._size is not None and self.position == self._size

    def open(self, version: str | None, size: int | None) -> IO[bytes]:
        """Open the file for appending bytes of this `version`."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab" if self.position else "wb")
        write_json(self._note, {"address_sha256": self._digest, "version": version, "size": size})
        return file

    def finish(self) -> None:
        """Flush the file to disk and rename it to `target`."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        self._path.replace(self.target)
        self._note.unlink(missing_ok=True)

    def discard(self, disk: Disk) -> None:
        """Delete the bytes and the note."""
        self._note.unlink(missing_ok=True)
        disk.delete(self._path)
