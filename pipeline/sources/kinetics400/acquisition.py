"""The download of Kinetics-400's clips: from its archives, its replacement archive, and YouTube."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from pipeline.fetch.archives import MemberFilter, TarArchive, remove_spools
from pipeline.records.failures import TRANSIENT, ClipError, Failure
from pipeline.records.rows import DownloadRow
from pipeline.sources.clips import Annotation, Arrival, Fetched, failed_row, spare_row, to_row
from pipeline.sources.context import Context
from pipeline.sources.kinetics400.annotations import (
    REPLACEMENTS,
    clip_id_of,
    duration_s,
    member_name,
    read_archive_urls,
)
from pipeline.sources.kinetics400.quotas import ClassQuotas
from pipeline.sources.kinetics400.youtube import YouTube

MAX_FAILED_ARCHIVES = 3  # in a row, each after all its attempts
_RECOVERABLE = TRANSIENT - {Failure.NOT_FOUND, Failure.FORBIDDEN}  # an archive that is gone stays gone


@dataclass
class ArchiveStatus:
    """Which clips are in the archives, and which splits' archives were all read, or failed."""

    seen: set[str] = field(default_factory=set)  # clip_ids
    finished: set[str] = field(default_factory=set)  # splits of which every archive was read
    errors: dict[str, ClipError] = field(default_factory=dict)  # by split: the last archive that could not be read

    @property
    def may_recover(self) -> bool:
        """Whether an archive failed that a later run may be able to read."""
        return any(error.code in _RECOVERABLE for error in self.errors.values())

    def absence(self, clip: Annotation) -> ClipError | None:
        """Why no archive has the clip; None if one has it, or may have it and was not needed."""
        split = clip.official_split
        if clip.clip_id in self.seen:
            return None
        if split is None:
            return ClipError(Failure.NOT_FOUND, "on none of the lists of Kinetics-400")
        if split in self.errors:
            error = self.errors[split]
            return ClipError(error.code, f"in no readable archive: {error.detail}")
        return ClipError(Failure.NOT_FOUND, f"in none of the {split} archives") if split in self.finished else None


class Acquisition:
    """One download: reads archives until every class has its quota and reserve; YouTube fills what they cannot.

    Args:
        quotas: with no clip recorded yet.
        folder: where the clips are written.
    """

    def __init__(self, name: str, context: Context, quotas: ClassQuotas, folder: Path) -> None:
        self._name, self._context, self._quotas, self._folder = name, context, quotas, folder
        self._status = ArchiveStatus()
        self._fetched: dict[str, Fetched] = {}
        self._ranks: dict[str, int] = {}
        self._from_youtube: set[str] = set()  # clip_ids that were requested from YouTube, with or without success
        self._not_tried: dict[str, ClipError] = {}  # by clip_id: needed, but YouTube had blocked a request before

    def run(self) -> None:
        """Download the clips; those that exist are not downloaded again."""
        for split in self._context.settings.kinetics_splits:
            self._read_archives(split)
        self._fetch_replacements()
        if not self._status.may_recover:  # else the next run tries the archives again before YouTube
            remove_spools(self._folder / "parts", self._context.hosts.disk)
            self._fetch_from_youtube()

    def row(self, clip: Annotation) -> DownloadRow:
        """The row of a clip after `run`."""
        clip_id, quota = clip.clip_id, self._quotas.quota[clip.labels[0]]
        absence = self._status.absence(clip)
        fetched = self._fetched.get(clip_id)
        if fetched is not None:
            if absence is not None and clip_id in self._from_youtube and not fetched.ok:
                fetched = _with_absence(fetched, absence)
            return to_row(clip, fetched, rank=self._ranks[clip_id], quota=quota)
        if clip_id in self._not_tried:
            error = self._not_tried[clip_id]
            return failed_row(clip, ClipError(error.code, f"in no archive; {error.detail}"), quota=quota)
        if absence is not None:
            return failed_row(clip, absence, quota=quota)
        return spare_row(clip, quota=quota)

    def _read_archives(self, split: str) -> None:
        urls = read_archive_urls(self._context.hosts, split, self._name)
        archives = [self._open(url) for url in urls]
        failures = 0  # in a row
        steps = zip(archives, [*archives[1:], None], strict=False)
        for archive, following in tqdm(
            steps, total=len(urls), desc=f"{self._name} {split}", unit="archive", disable=None
        ):
            if not self._quotas.need(split):
                archive.discard()
                return
            try:
                self._read_archive(archive, following)
                failures = 0
            except ClipError as error:
                self._status.errors[split] = error
                failures += error.code in _RECOVERABLE
            if failures == MAX_FAILED_ARCHIVES:
                tqdm.write(f"{self._name}: {failures} archives in a row failed: the next run tries the rest of {split}")
                return
        self._status.finished.add(split)

    def _read_archive(self, archive: TarArchive, following: TarArchive | None) -> None:
        """Extract and probe the needed clips of one archive; `following` is downloaded while this one is read.

        Raises:
            ClipError: see `TarArchive.extract`; clips that were extracted before the error are recorded.
        """
        error: ClipError | None = None
        if not archive.complete or not self._is_extracted(archive):
            try:
                archive.extract(lambda: self._new_filter(following))
            except ClipError as caught:
                error = caught
        clip_ids = _clip_ids(archive.names)
        rejected = {clip_id_of(name): detail for name, detail in archive.rejected.items()}
        results: dict[str, Fetched] = {}
        arrivals: dict[str, Arrival] = {}
        selected = self._quotas.select(clip_ids)
        for clip_id in selected:
            arrival = self._arrival(clip_id, self._path(clip_id), archive.url)
            if clip_id in rejected:
                results[clip_id] = Fetched.failed(arrival.url, ClipError(Failure.TOO_LARGE, rejected[clip_id]))
            elif arrival.path.exists():
                arrivals[clip_id] = arrival
        results |= self._context.probe(arrivals, f"{self._name} probe")
        self._record({clip_id: results[clip_id] for clip_id in selected if clip_id in results})
        self._status.seen |= results.keys() if error is not None else set(clip_ids)
        if error is not None:
            raise error

    def _new_filter(self, following: TarArchive | None) -> MemberFilter:
        select = self._quotas.new_selection()

        def target(member: str) -> Path | None:
            if following is not None:
                following.prefetch()  # here, because this archive's own download has ended now
            clip_id = clip_id_of(member)
            return self._path(clip_id) if clip_id is not None and select(clip_id) else None

        return target

    def _is_extracted(self, archive: TarArchive) -> bool:
        """Whether every needed clip of an archive is on disk."""
        rejected = {clip_id_of(name) for name in archive.rejected}
        selected = self._quotas.select(_clip_ids(archive.names))
        return all(clip_id in rejected or self._path(clip_id).exists() for clip_id in selected)

    def _fetch_replacements(self) -> None:
        """Replace broken clips by those in the host's replacement archive, matched by YouTube id."""
        broken = {self._quotas.clips[id_].video_id: id_ for id_, fetched in self._fetched.items() if not fetched.ok}
        if not broken or not self._has_replacements():
            return
        paths = {clip_id: self._folder / "replacements" / f"{clip_id}.mp4" for clip_id in broken.values()}
        missing = {video_id for video_id, clip_id in broken.items() if not paths[clip_id].exists()}
        archive = self._open(REPLACEMENTS)
        if not archive.complete or missing & {_video_id(name) for name in archive.names}:

            def target(member: str) -> Path | None:
                return paths[broken[_video_id(member)]] if _video_id(member) in missing else None

            try:
                archive.extract(lambda: target)
            except ClipError as error:
                tqdm.write(f"{self._name}: {REPLACEMENTS}: {error}")
        arrivals = {id_: self._arrival(id_, path, REPLACEMENTS) for id_, path in paths.items() if path.exists()}
        probed = self._context.probe(arrivals, f"{self._name} replacements")
        self._record({clip_id: fetched for clip_id, fetched in probed.items() if fetched.ok})

    def _has_replacements(self) -> bool:
        try:
            return self._context.hosts.exists(REPLACEMENTS)
        except ClipError as error:
            tqdm.write(f"{self._name}: {REPLACEMENTS}: {error}")
            return False

    def _fetch_from_youtube(self) -> None:
        """Fetch clips one by one until every class has its quota and reserve, or no candidates remain."""
        youtube = YouTube(self._context, self._folder / "youtube")
        while youtube.available and (clips := self._quotas.candidates()):
            failed: dict[str, Fetched] = {}
            arrivals: dict[str, Arrival] = {}
            for clip, result in youtube.fetch(clips):
                if isinstance(result, Arrival):
                    arrivals[clip.clip_id] = result
                else:
                    failed[clip.clip_id] = result
            results = failed | self._context.probe(arrivals, f"{self._name} probe")
            self._from_youtube |= results.keys()
            self._record(results)
        if youtube.blocked is not None:
            self._not_tried = {clip.clip_id: youtube.blocked for clip in self._quotas.candidates()}

    def _record(self, results: Mapping[str, Fetched]) -> None:
        for clip_id, fetched in results.items():
            self._fetched[clip_id] = fetched
            self._ranks.setdefault(clip_id, len(self._ranks))
            self._quotas.record(clip_id, healthy=fetched.ok)

    def _open(self, url: str) -> TarArchive:
        return TarArchive(self._context.hosts, url, self._folder / "parts")

    def _arrival(self, clip_id: str, path: Path, archive_url: str) -> Arrival:
        clip = self._quotas.clips[clip_id]
        return Arrival(path, f"{archive_url}#{member_name(clip)}", duration_s(clip))

    def _path(self, clip_id: str) -> Path:
        return self._folder / f"{clip_id}.mp4"


def _clip_ids(members: list[str]) -> list[str]:
    """The clip_ids of an archive's members, in order; other members are left out."""
    return [clip_id for member in members if (clip_id := clip_id_of(member)) is not None]


def _video_id(member: str) -> str:
    return Path(member).name[:11]


def _with_absence(fetched: Fetched, absence: ClipError) -> Fetched:
    """A failure on YouTube, with the reason why no archive has the clip before it; an archive's own failure decides the code."""
    outcome = fetched.outcome
    code = outcome.error if absence.code is Failure.NOT_FOUND else absence.code.value
    detail = f"{absence.detail}; {outcome.error_detail}"
    return replace(fetched, outcome=replace(outcome, error=code, error_detail=detail))
