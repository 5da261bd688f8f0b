"""Clips from YouTube by yt-dlp, a few at a time, each recorded in a ledger."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from pipeline.fetch import youtube
from pipeline.fetch.youtube import Downloaded, Section
from pipeline.records.failures import ClipError, Failure
from pipeline.runner import Job, Task, per_clip
from pipeline.runner.ledger import Outcome, digest
from pipeline.sources.clips import Annotation, Arrival, Fetched, Probed
from pipeline.sources.context import Context
from pipeline.sources.kinetics400.annotations import WATCH, duration_s

_BLOCKED = (Failure.RATE_LIMITED, Failure.FORBIDDEN)


class YouTube:
    """Fetches clips into `folder`; after the first 403 or 429 it sends no further request in this run.

    Attributes:
        blocked: that answer.
    """

    def __init__(self, context: Context, folder: Path) -> None:
        self._hosts, self._settings, self._folder = context.hosts, context.settings, folder
        self._speed = context.traffic.youtube
        self._engine = replace(context.engine, kind="local", store=None, workers=context.settings.connections)
        self.blocked: ClipError | None = None

    @property
    def available(self) -> bool:
        """Whether params and `corpus` allow it, and it has blocked no request."""
        on_the_web = self._hosts.locate(WATCH).startswith(("http://", "https://"))
        return self._settings.youtube and on_the_web and self.blocked is None

    def fetch(self, clips: Sequence[Annotation]) -> Iterator[tuple[Annotation, Arrival | Fetched]]:
        """Each clip with its file, or with the failed result; ends early when YouTube blocks a request."""
        step = self._settings.connections
        job = Job(download, None, self._engine.timeout_s)
        for begin in tqdm(range(0, len(clips), step), desc="YouTube", unit_scale=step, unit="clip", disable=None):
            batch = {clip.clip_id: clip for clip in clips[begin : begin + step]}
            sections = {clip_id: self._section(clip) for clip_id, clip in batch.items()}
            keys = {
                clip_id: digest("youtube", youtube.VERSION, part.url, part.start_s, part.end_s, part.min_height)
                for clip_id, part in sections.items()
            }
            tasks = [Task(clip_id, section) for clip_id, section in sections.items()]
            outcomes = per_clip.map_clips(
                "youtube", job, tasks, keys, Downloaded, self._engine, quiet=True, speed=self._speed
            )
            for clip_id, clip in batch.items():
                outcome = outcomes[clip_id]
                if outcome.result is not None:
                    yield clip, Arrival(Path(outcome.result.path), sections[clip_id].url, duration_s(clip))
                    continue
                if outcome.error in _BLOCKED:
                    self.blocked = ClipError(Failure(outcome.error), f"YouTube blocks requests: {outcome.error_detail}")
                yield clip, Fetched(WATCH + clip.video_id, _without_result(outcome))
            if self.blocked is not None:
                tqdm.write(
                    f"{self.blocked.detail}; no more are sent in this run: `python -m pipeline retry` does, later"
                )
                return

    def _section(self, clip: Annotation) -> Section:
        url = self._hosts.locate(WATCH + clip.video_id) + (".mp4" if self._hosts.mirror else "")
        options = {name: value for name, value in asdict(self._settings.yt_dlp).items() if value is not None}
        if self._settings.max_mb_per_s is not None:
            share = int(self._settings.max_mb_per_s * 1e6 / self._settings.connections)
            options["ratelimit"] = min(share, options.get("ratelimit", share))
        return Section(
            url,
            clip.start_s or 0.0,
            clip.end_s or 0.0,
            str(self._folder / clip.clip_id),
            self._settings.min_height,
            self._settings.timeout_s,
            options,
        )


def _without_result(outcome: Outcome[Downloaded]) -> Outcome[Probed]:
    return Outcome(outcome.key, None, outcome.error, outcome.error_detail, outcome.attempts, outcome.seconds)


def download(section: Section, _: None) -> Downloaded:
    """See `pipeline.fetch.youtube.download`."""
    return youtube.download(section)
