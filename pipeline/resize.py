"""resize: decode every clip once, and write its 100 ticks at 64x64 as one filmstrip image."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from common.files import write_bytes
from common.paths import FILMSTRIPS
from pipeline import params
from pipeline.fetch.retention import punch_holes
from pipeline.params import Resize
from pipeline.records import manifests
from pipeline.records.failures import TRANSIENT
from pipeline.records.rows import DownloadRow, ResampleRow, ResizeRow, TrimRow
from pipeline.runner.inputs import check_unchanged
from pipeline.runner.per_clip import PerClipStage
from pipeline.video.container import open_video
from pipeline.video.filmstrip import decode_ticks, encode
from pipeline.video.quality import measure

VERSION = 4


def main() -> None:
    """Read resample.parquet, write resize.parquet and `data/filmstrips/`."""
    settings = params.load()
    check_unchanged(manifests.read(TrimRow))
    rows = STAGE.run(settings.resize, settings.engine, timeout_s=settings.resize.timeout_s)
    if not settings.download.keep_raw:
        _drop_raw(rows)


def resize(row: ResampleRow, settings: Resize) -> ResizeRow:
    """The filmstrip of one resampled clip.

    Raises:
        ClipError: decode_error when a frame on the timeline cannot be decoded; else as `open_video`.
    """
    with open_video(row.path) as (container, stream):
        frames = decode_ticks(
            container,
            stream,
            row.timeline,
            clock=row.clock,
            size=settings.size,
            fit=settings.fit,
            skip=row.timeline_from == "packets",
        )
    image = encode(frames, format=settings.format, quality=settings.quality)
    path = FILMSTRIPS / row.source / f"{row.clip_id}.{settings.format}"
    write_bytes(path, image)
    quality = measure(frames[: row.valid_frames])
    return ResizeRow(
        clip_id=row.clip_id,
        source=row.source,
        path=str(path),
        bytes=len(image),
        sha256=hashlib.sha256(image).hexdigest(),
        valid_frames=row.valid_frames,
        motion=quality.motion,
        sharpness=quality.sharpness,
        brightness=quality.brightness,
        fingerprint=quality.fingerprint,
    )


def _cost(row: ResampleRow) -> float:
    return row.width * row.height * row.source_frames


def _drop_raw(rows: Sequence[ResizeRow]) -> None:
    """Free the raw bytes of finished clips: ok, or failed for good. A user's own folders are never touched."""
    finished = {row.clip_id for row in rows if row.error not in TRANSIENT}
    upstream: tuple[DownloadRow | TrimRow, ...] = (*manifests.read(DownloadRow), *manifests.read(TrimRow))
    freed = punch_holes(Path(row.path) for row in upstream if row.path and row.clip_id in finished)
    print(f"resize: {freed / 1e9:,.2f} GB of raw bytes dropped (download.keep_raw: false)")


STAGE = PerClipStage(resize, reads=ResampleRow, writes=ResizeRow, version=VERSION, folder=FILMSTRIPS, cost=_cost)
