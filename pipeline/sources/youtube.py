"""Clips from YouTube: those that no archive has, by yt-dlp, a few at a time."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from pipeline.fetch import youtube
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.youtube import Section
from pipeline.params import Download, Engine
from pipeline.records.failures import ClipError, Failure
from pipeline.runner import Job, Task, per_clip
from pipeline.runner.ledger import Outcome, digest
from pipeline.sources.clips import Annotation

WATCH = "https://www.youtube.com/watch?v="
_STOPS = (Failure.RATE_LIMITED, Failure.FORBIDDEN)


@dataclass(frozen=True)
class Downloaded:
    """The file of one section."""

    path: str
    bytes: int


class YouTube:
    """Asks for clips, a few at a time; at the first sign that YouTube has had enough it asks no more in this run."""

    def __init__(self, hosts: Hosts, folder: Path, settings: Download, options: Engine) -> None:
        self._hosts, self._folder, self._settings = hosts, folder, settings
        self._options = replace(options, kind="local", store=None, workers=settings.connections)
        self.refusal: ClipError | None = None

    @property
    def at_hand(self) -> bool:
        """Whether there is anything to ask: params say so, and `corpus` is on the web."""
        return self._settings.youtube and self._hosts.locate(WATCH).startswith(("http://", "https://"))

    def fetch(self, clips: list[Annotation]) -> Iterator[tuple[Annotation, str, Outcome[Downloaded]]]:
        """Each clip with its URL and its file, or the reason why there is none; ends early when YouTube refuses."""
        step = self._settings.connections
        for begin in tqdm(range(0, len(clips), step), desc="YouTube", unit_scale=step, unit="clip", disable=None):
            batch = {clip.clip_id: clip for clip in clips[begin : begin + step]}
            sections = {clip_id: self._section(clip) for clip_id, clip in batch.items()}
            keys = {
                clip_id: digest("youtube", youtube.VERSION, part.url, part.start_s, part.end_s, part.min_height)
                for clip_id, part in sections.items()
            }
            tasks = [Task(clip_id, part) for clip_id, part in sections.items()]
            job = Job(download, None, self._options.timeout_s)
            outcomes = per_clip.map_clips("youtube", job, tasks, keys, Downloaded, self._options, quiet=True)
            for clip_id, clip in batch.items():
                outcome = outcomes[clip_id]
                if outcome.error in _STOPS:
                    self.refusal = ClipError(Failure(outcome.error), f"YouTube refuses: {outcome.error_detail}")
                yield clip, sections[clip_id].url, outcome
            if self.refusal is not None:
                tqdm.write(f"{self.refusal.detail}; no more is asked of it now: `python -m pipeline retry` does, later")
                return

    def _section(self, clip: Annotation) -> Section:
        url = self._hosts.locate(WATCH + clip.video_id) + (".mp4" if self._hosts.mirror else "")
        options = {name: value for name, value in asdict(self._settings.yt_dlp).items() if value is not None}
        if self._settings.max_mb_per_s is not None:
            fair = int(self._settings.max_mb_per_s * 1e6 / self._settings.connections)
            options["ratelimit"] = min(fair, options.get("ratelimit", fair))
        return Section(
            url,
            clip.start_s or 0.0,
            clip.end_s or 0.0,
            str(self._folder / clip.clip_id),
            self._settings.min_height,
            self._settings.timeout_s,
            options,
        )


def download(section: Section, _: None) -> Downloaded:
    """Fetch one section.

    Raises:
        ClipError: see `pipeline.fetch.youtube.download`.
    """
    path = youtube.download(section)
    return Downloaded(str(path), path.stat().st_size)
