"""resize: every clip decoded exactly once, its 100 ticks at 64x64 in one filmstrip image."""

import hashlib
import time
from pathlib import Path
from typing import Any

from common.files import write_bytes
from common.paths import FILMSTRIPS, RAW, TRIMMED
from pipeline import params
from pipeline.fetch.disk import hollow
from pipeline.params import Resize
from pipeline.records import manifests
from pipeline.records.failures import TRANSIENT
from pipeline.records.manifests import Row
from pipeline.runner import per_clip
from pipeline.video.container import open_video
from pipeline.video.filmstrip import decode_ticks, encode

VERSION = 2


def main() -> None:
    """Read resample.parquet, write resize.parquet and `data/filmstrips/`."""
    settings = params.load()
    per_clip.run(
        "resize",
        "resample",
        resize,
        version=VERSION,
        params=settings.resize,
        options=settings.engine,
        folder=FILMSTRIPS,
        timeout_s=settings.resize.timeout_s,
        cost=lambda row: row["width"] * row["height"] * row["source_frames"],
    )
    if not settings.download.keep_raw:
        _drop_raw()


def _drop_raw() -> None:
    """Free the raw bytes of every clip whose fate is sealed; a user's own folders are never touched."""
    sealed = {row["clip_id"] for row in manifests.read("resize") if row["error"] not in TRANSIENT}
    freed = 0
    for name, folder in (("download", RAW), ("trim", TRIMMED)):
        paths = (Path(row["path"]) for row in manifests.read(name) if row["path"] and row["clip_id"] in sealed)
        freed += sum(hollow(path) for path in paths if folder in path.parents and path.exists())
    print(f"resize: {freed / 1e9:,.2f} GB of raw bytes dropped (download.keep_raw: false)")


def resize(row: Row, settings: Resize) -> dict[str, Any]:
    """The filmstrip of one resampled clip.

    Raises:
        ClipError: decode_error when a frame on the timeline cannot be decoded; else as `open_video`.
    """
    start = time.perf_counter()
    with open_video(row["path"]) as (container, stream):
        frames = decode_ticks(
            container,
            stream,
            row["timeline"],
            clock=row["clock"],
            size=settings.size,
            fit=settings.fit,
            skip=row["timeline_from"] == "packets",
        )
    seconds = time.perf_counter() - start
    strip = encode(frames, format=settings.format, quality=settings.quality)
    path = FILMSTRIPS / row["source"] / f"{row['clip_id']}.{settings.format}"
    write_bytes(path, strip)
    return {
        "path": str(path),
        "bytes": len(strip),
        "sha256": hashlib.sha256(strip).hexdigest(),
        "valid_frames": row["valid_frames"],
        "decode_s": round(seconds, 4),
    }
