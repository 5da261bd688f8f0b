"""resample: the timeline of every clip, the timestamp of the frame on screen at each of 100 ticks at 10 FPS."""

from fractions import Fraction
from typing import Any

from pipeline import params, stage
from pipeline.failures import ClipError, Failure
from pipeline.manifests import Row
from pipeline.params import Resample
from pipeline.video.clock import timed_frames
from pipeline.video.container import open_video
from pipeline.video.timeline import make_timeline, shown_frames

VERSION = 1


def main() -> None:
    """Read trim.parquet, write resample.parquet; reads packet timestamps, decodes only where those cannot be trusted."""
    settings = params.load()
    stage.run("resample", "trim", resample, version=VERSION, params=settings.resample, options=settings.engine)


def resample(row: Row, settings: Resample) -> dict[str, Any]:
    """The timeline of one trimmed clip.

    Raises:
        ClipError: too_short under `min_frames` ticks; else as `open_video` and `shown_frames`.
    """
    facts = _facts(row["path"])
    with open_video(row["path"]) as (container, stream):
        span = row["lead_in_s"] + min(row["duration_s"], settings.frames / settings.fps)
        first = (stream.start_time or 0) * Fraction(stream.time_base or 0)
        frames = shown_frames(container, stream, until=first + Fraction(span))
    timeline = make_timeline(
        frames,
        lead_in_s=row["lead_in_s"],
        duration_s=row["duration_s"],
        fps=settings.fps,
        count=settings.frames,
        pad=settings.pad,
    )
    if timeline.valid < settings.min_frames:
        raise ClipError(
            Failure.TOO_SHORT,
            f"{timeline.valid} ticks at {settings.fps} FPS, at least {settings.min_frames} are needed",
        )
    return facts | {
        "path": row["path"],
        "avg_fps": timeline.avg_fps,
        "source_frames": timeline.source_frames,
        "time_base": str(frames.time_base),
        "timeline": timeline.pts,
        "timeline_from": frames.origin,
        "valid_frames": timeline.valid,
    }


def _facts(path: str) -> dict[str, Any]:
    """What the file says of itself; the rotation is known only once a frame has been decoded."""
    with open_video(path) as (container, stream):
        context = stream.codec_context
        _, frame = next(timed_frames(container, stream), (None, None))
        return {
            "container": container.format.name,
            "codec": context.codec.canonical_name,
            "width": context.width,
            "height": context.height,
            "rotation": frame.rotation if frame is not None else 0,
        }
