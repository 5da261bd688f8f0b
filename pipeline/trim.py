"""trim: cut every clip into a file of its own by stream copy; files that are one clip already are used as they are."""

from pathlib import Path

from common.paths import TRIMMED
from pipeline import params
from pipeline.params import Trim
from pipeline.records import manifests
from pipeline.records.rows import DownloadRow, TrimRow
from pipeline.runner.inputs import check_unchanged
from pipeline.runner.per_clip import PerClipStage
from pipeline.video.cut import Cut, cut
from pipeline.video.frames import read_frame_times

VERSION = 2
_MAX_SUFFIX = 13  # characters; a longer one is part of a sentence, and may not fit in a file name


def main() -> None:
    """Read download.parquet, write trim.parquet and `data/trimmed/`."""
    settings = params.load()
    check_unchanged(manifests.read(DownloadRow))
    STAGE.run(settings.trim, settings.engine)


def trim(row: DownloadRow, settings: Trim) -> TrimRow:
    """The clip of one download row as a file.

    Raises:
        ClipError: the file cannot be opened, the window begins after its end, or ffmpeg cannot copy it.
    """
    source = Path(row.path)
    if row.precut or row.start_s is None or row.end_s is None:
        clip = Cut(source, 0.0, float(read_frame_times(source, trust_packets=True).duration))
    else:
        # The source's container keeps the source's time base, so ticks choose the same frames before and after the cut.
        suffix = source.suffix.lower()
        suffix = suffix if 1 < len(suffix) <= _MAX_SUFFIX else ".mkv"
        target = TRIMMED / row.source / f"{row.clip_id}{suffix}"
        clip = cut(source, target, row.start_s, row.end_s, settings.margin_s)
    return TrimRow(
        clip_id=row.clip_id,
        source=row.source,
        path=str(clip.path),
        lead_in_s=clip.lead_in_s,
        duration_s=clip.duration_s,
        bytes=clip.path.stat().st_size,
    )


STAGE = PerClipStage(trim, reads=DownloadRow, writes=TrimRow, version=VERSION, folder=TRIMMED)
