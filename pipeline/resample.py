"""resample: compute the timeline of every clip, the timestamp of the frame on screen at each of 100 ticks at 10 FPS."""

from fractions import Fraction

from pipeline import params
from pipeline.params import Resample
from pipeline.records import manifests
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import ResampleRow, TrimRow
from pipeline.runner.inputs import check_unchanged
from pipeline.runner.per_clip import PerClipStage
from pipeline.video.frames import read_frame_times
from pipeline.video.timeline import make_timeline

VERSION = 2


def main() -> None:
    """Read trim.parquet, write resample.parquet; reads packet timestamps, decodes only where those cannot be trusted."""
    settings = params.load()
    check_unchanged(manifests.read(TrimRow))
    STAGE.run(settings.resample, settings.engine)


def resample(row: TrimRow, settings: Resample) -> ResampleRow:
    """The timeline of one trimmed clip.

    Raises:
        ClipError: too_short under `min_frames` ticks; else as `open_video` and `read_frame_times`.
    """
    # The clip's own seconds, and the lead-in before them.
    span = row.lead_in_s + min(row.duration_s, settings.frames / settings.fps)
    frames = read_frame_times(row.path, until_s=Fraction(span))
    timeline = make_timeline(
        frames,
        lead_in_s=row.lead_in_s,
        duration_s=row.duration_s,
        fps=settings.fps,
        count=settings.frames,
        pad=settings.pad,
    )
    if timeline.valid_frames < settings.min_frames:
        raise ClipError(
            Failure.TOO_SHORT,
            f"{timeline.valid_frames} ticks at {settings.fps} FPS, at least {settings.min_frames} are needed",
        )
    return ResampleRow(
        clip_id=row.clip_id,
        source=row.source,
        path=row.path,
        container=frames.metadata.container,
        codec=frames.metadata.codec,
        width=frames.metadata.width,
        height=frames.metadata.height,
        rotation=frames.metadata.rotation,
        avg_fps=timeline.avg_fps,
        source_frames=timeline.source_frames,
        time_base=str(frames.time_base),
        timeline=tuple(timeline.pts),
        timeline_from=frames.timeline_from,
        clock=frames.clock,
        valid_frames=timeline.valid_frames,
    )


STAGE = PerClipStage(resample, reads=TrimRow, writes=ResampleRow, version=VERSION)
