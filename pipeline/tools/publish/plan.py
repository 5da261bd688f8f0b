"""A file to upload."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.composite.dataset import File


@dataclass(frozen=True)
class Upload:
    """A local file, and its name, size and digest where it is published."""

    path: Path
    file: File
