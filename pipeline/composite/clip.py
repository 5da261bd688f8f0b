"""The facts of one clip that decide its class, and whether the composite keeps it."""

from dataclasses import dataclass
from typing import Self

from pipeline.records.rows import DownloadRow, ResizeRow


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip that has a filmstrip: its annotation, and the digest of the filmstrip."""

    clip_id: str
    source: str
    labels: tuple[str, ...]
    video_id: str
    start_s: float | None = None
    end_s: float | None = None
    rank: int = 0
    quota: int | None = None
    sha256: str

    @classmethod
    def join(cls, filmstrip: ResizeRow, annotation: DownloadRow) -> Self:
        """The clip of two rows with the same clip_id."""
        return cls(
            clip_id=filmstrip.clip_id,
            source=filmstrip.source,
            labels=annotation.labels,
            video_id=annotation.video_id,
            start_s=annotation.start_s,
            end_s=annotation.end_s,
            rank=annotation.rank or 0,
            quota=annotation.quota,
            sha256=filmstrip.sha256,
        )

    @property
    def arrival(self) -> tuple[str, int, str]:
        """Sort key of the order in which clips were downloaded; earlier clips are preferred."""
        return self.source, self.rank, self.clip_id
