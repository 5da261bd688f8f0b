"""trim: every clip as a file of its own, cut by stream copy; a clip that its publisher has cut passes untouched."""

from pathlib import Path
from typing import Any

from common.paths import TRIMMED
from pipeline import params
from pipeline.params import Trim
from pipeline.records.manifests import Row
from pipeline.runner import per_clip
from pipeline.video.cut import cut
from pipeline.video.frames import shown_frames

VERSION = 2


def main() -> None:
    """Read download.parquet, write trim.parquet and `data/trimmed/`."""
    settings = params.load()
    per_clip.run(
        "trim", "download", trim, version=VERSION, params=settings.trim, options=settings.engine, folder=TRIMMED
    )


def trim(row: Row, settings: Trim) -> dict[str, Any]:
    """The clip of one download row as a file.

    Raises:
        ClipError: the file cannot be opened, the window lies beyond its end, or ffmpeg cannot copy it.
    """
    source = Path(row["path"])
    if row["precut"]:
        return _pass_through(source)
    # The source's container keeps the source's clock, so ticks choose the same frames before and after the cut.
    target = TRIMMED / row["source"] / f"{row['clip_id']}{source.suffix.lower() or '.mkv'}"
    path, lead_in_s, duration_s = cut(source, target, row["start_s"], row["end_s"], settings.margin_s)
    return {"path": str(path), "lead_in_s": lead_in_s, "duration_s": duration_s, "bytes": path.stat().st_size}


def _pass_through(source: Path) -> dict[str, Any]:
    length = float(shown_frames(source, believe=True).length)
    return {"path": str(source), "lead_in_s": 0.0, "duration_s": length, "bytes": source.stat().st_size}
