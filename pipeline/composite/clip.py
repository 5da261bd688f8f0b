"""The facts of one clip that decide its class, and whether the composite keeps it."""

from dataclasses import dataclass
from typing import Self

from pipeline.records.rows import DownloadRow, ResizeRow


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip that has a filmstrip: its annotation, and what is known of the filmstrip."""

    clip_id: str
    source: str
    labels: tuple[str, ...]
    video_id: str
    start_s: float | None = None
    end_s: float | None = None
    rank: int = 0
    quota: int | None = None
    official_split: str | None = None
    in_minikinetics200: bool = False
    sha256: str
    bytes: int | None = None
    valid_frames: int | None = None
    motion: float | None = None
    sharpness: float | None = None
    brightness: float | None = None
    fingerprint: str | None = None
    duplicate_of: str | None = None  # known once all clips are
    is_new: bool = True  # not one of the earlier composite that `split.freeze` keeps

    @classmethod
    def join(cls, filmstrip: ResizeRow, annotation: DownloadRow, *, is_new: bool = True) -> Self:
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
            official_split=annotation.official_split,
            in_minikinetics200=annotation.in_minikinetics200,
            sha256=filmstrip.sha256,
            bytes=filmstrip.bytes,
            valid_frames=filmstrip.valid_frames,
            motion=filmstrip.motion,
            sharpness=filmstrip.sharpness,
            brightness=filmstrip.brightness,
            fingerprint=filmstrip.fingerprint,
            is_new=is_new,
        )

    @property
    def arrival(self) -> tuple[bool, str, int, str]:
        """Sort key of the order in which clips are preferred: those of an earlier composite, then as they were downloaded."""
        return self.is_new, self.source, self.rank, self.clip_id
