"""Kinetics-400 from the CVDF host: CSV annotations, tars of about 1,000 clips in random class order.

Parts are streamed in the order of the host's lists; a clip is kept while its class still lacks clips, and streaming
stops when every class has its quota and reserve. A part's decisions depend on the parts before it alone, so they come
out the same on every machine and in every rerun. Quotas count healthy clips: broken ones make room for the next part's.
What the archives cannot fill is asked of YouTube, clip by clip.
"""

import csv
import io
import random
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from common.errors import WorkError
from common.paths import RAW
from pipeline.fetch.archives import MemberFilter, TarArchive
from pipeline.fetch.hosts import Hosts
from pipeline.params import Download, Engine
from pipeline.records.facts import SourceFacts
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import DownloadRow
from pipeline.runner.ledger import Outcome, digest
from pipeline.sources.clips import Annotation, Arrival, Fetched, Probed, failed_row, probe_all, spare_row, to_row
from pipeline.sources.quotas import Intake, quotas
from pipeline.sources.youtube import WATCH, YouTube

HOST = "https://s3.amazonaws.com/kinetics/400"
REPLACEMENTS = f"{HOST}/replacement_for_corrupted_k400.tgz"
_MEMBER = re.compile(r"([A-Za-z0-9_-]{11})_(\d{6})_(\d{6})\.mp4", re.ASCII)
_PART = re.compile(re.escape(HOST) + r"/(train|val|test)/[\w-][\w.-]*", re.ASCII)
_ENOUGH = 3  # parts in a row that a host may fail to give, each after all its attempts
_PASSING = (Failure.CONNECTION, Failure.TIMEOUT, Failure.RATE_LIMITED, Failure.TRUNCATED)
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


FACTS = SourceFacts(
    title="Kinetics-400",
    citation="Kinetics-400 (Kay et al. 2017, arXiv 1705.06950)",
    terms="annotations CC BY 4.0; the videos belong to those who put them on YouTube",
    youtube_videos=True,
)


@dataclass(frozen=True)
class Entry:
    """An entry of kind `kinetics400` under `sources`."""

    kind: Literal["kinetics400"]


def read_annotations(text: str, split: str, source: str) -> list[Annotation]:
    """The rows of one annotation CSV, in any of its three published forms; the test split has no label column.

    Raises:
        WorkError: the text is no Kinetics CSV (a web page, say), or a row has no id or no times.
    """
    try:
        table = list(csv.DictReader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise WorkError(f"{split}.csv of {source} is not CSV: {error}") from None
    needed = {"youtube_id", "time_start", "time_end"}
    if not table or not needed <= set(table[0]):
        raise WorkError(
            f"{split}.csv of {source} is no Kinetics list: it lacks the columns {', '.join(sorted(needed))}"
        )
    clips = []
    for line, row in enumerate(table, 2):
        try:
            video_id, start, end = row["youtube_id"], int(float(row["time_start"])), int(float(row["time_end"]))
        except (TypeError, ValueError, OverflowError):  # overflow: a time of `inf`
            raise WorkError(f"{split}.csv of {source}, line {line}: times are not numbers") from None
        if not _YOUTUBE_ID.fullmatch(video_id) or not 0 <= start < end <= 999_999:
            raise WorkError(f"{split}.csv of {source}, line {line}: {video_id!r} {start} {end} is no clip")
        label = (row.get("label") or "").strip()
        clips.append(
            Annotation(
                clip_id=f"k400-{video_id}-{start:06d}-{end:06d}",
                source=source,
                video_id=video_id,
                labels=(label,) if label else (),
                official_split=split,
                start_s=float(start),
                end_s=float(end),
            )
        )
    return clips


class Kinetics400:
    """The source. `preferred` are MiniKinetics-200's video ids; `only_preferred` leaves the rest of Kinetics out."""

    def __init__(
        self,
        name: str,
        hosts: Hosts,
        settings: Download,
        options: Engine,
        preferred: frozenset[str] = frozenset(),
        only_preferred: bool = False,
    ) -> None:
        self.name, self._hosts, self._settings, self._options = name, hosts, settings, options
        self._preferred, self._only_preferred = preferred, only_preferred
        self._folder = RAW / name

    def plan(self) -> list[str]:
        """What `download` would fetch, in lines to read: clips by class, archives, bytes. Reads lists only."""
        lost, wanted = self._annotated()
        intake = self._intake(wanted)
        quota, have = intake.quota, Counter(clip.labels[0] for clip in wanted.values())
        short = {label: have[label] for label in quota if have[label] < quota[label]}
        reserve = sum(min(self._settings.reserve_per_class, max(0, have[label] - quota[label])) for label in quota)
        lacking = sum(quota[label] - count for label, count in short.items())
        sizes = sorted(Counter(quota.values()).items())
        spread = ", ".join(f"{count} classes of {size}" for size, count in sizes)
        lines = [
            f"{len(wanted) + len(lost):,} clips annotated, {len(lost):,} of them without one clear label",
            f"{sum(quota.values()) - lacking:,} clips wanted of {len(quota)} classes ({spread}), and {reserve:,} in reserve",
        ]
        if short:
            worst = ", ".join(f"{label} {n} of {quota[label]}" for label, n in list(short.items())[:5])
            lines.append(f"{len(short)} classes have fewer clips than wanted: {worst}")
        legs = self._rehearse(intake)
        for leg in legs:
            told = f", {leg.streamed / 1e9:,.1f} GB, of which {leg.kept / 1e9:,.1f} GB are kept" if leg.streamed else ""
            lines.append(f"{leg.split}: about {leg.parts} of {leg.of} parts to stream{told}")
        if not any(leg.streamed for leg in legs):
            lines.append("of what size, the host does not tell")
        return lines

    def download(self) -> list[DownloadRow]:
        """One row per annotated clip: fetched and healthy, failed, or spare."""
        rows, wanted = self._annotated()
        self._foresee(wanted)
        intake = self._intake(wanted)
        fate = _Fate()
        for split in self._settings.kinetics_splits:
            lost = 0  # parts in a row
            for url in tqdm(self._parts(split), desc=f"{self.name} {split}", unit="part", disable=None):
                if intake.full:
                    break
                try:
                    self._take(url, intake, fate.seen)
                    lost = 0
                except ClipError as error:
                    fate.troubled[split] = error
                    lost += error.code in _PASSING
                if lost == _ENOUGH:
                    tqdm.write(
                        f"{self.name}: {lost} parts in a row failed: the other parts of {split} wait for the next run"
                    )
                    break
            else:
                fate.finished.add(split)
        self._repair(intake)
        self._ask_youtube(intake, fate)
        self._say_shortage(intake)
        return rows + [self._row(clip, intake, fate) for clip in wanted.values()]

    def _annotated(self) -> tuple[list[DownloadRow], dict[str, Annotation]]:
        """Rows that are lost by annotation alone, and the clips that may be fetched."""
        rows: list[DownloadRow] = []
        clips: dict[str, Annotation] = {}
        for split in self._settings.kinetics_splits:
            for clip in read_annotations(self._hosts.read_text(f"{HOST}/annotations/{split}.csv"), split, self.name):
                clip = replace(clip, in_minikinetics200=clip.video_id in self._preferred)
                if self._only_preferred and not clip.in_minikinetics200:
                    continue
                known = clips.setdefault(clip.clip_id, clip)
                if known.labels != clip.labels:
                    clips[clip.clip_id] = replace(known, labels=tuple(sorted({*known.labels, *clip.labels})))
        for clip in list(clips.values()):
            if len(clip.labels) == 1:
                continue
            if clip.labels:
                code, detail = Failure.CONFLICTING_LABEL, "annotated as " + " and as ".join(clip.labels)
            else:
                code, detail = Failure.MISSING_LABEL, f"the {clip.official_split} list gives it no label"
            rows.append(failed_row(clip, ClipError(code, detail)))
            del clips[clip.clip_id]
        return rows, clips

    def _intake(self, wanted: dict[str, Annotation]) -> Intake:
        labels = (clip.labels[0] for clip in wanted.values())
        return Intake(
            wanted,
            quotas(labels, self._settings.kinetics_clips, self._settings.seed),
            self._settings.reserve_per_class,
        )

    def _parts(self, split: str) -> list[str]:
        """The archives of a split, as the host lists them; nothing but archives of this host is ever opened.

        Raises:
            WorkError: the list names something else.
        """
        urls = self._hosts.read_text(f"{HOST}/{split}/k400_{split}_path.txt").split()
        stranger = next((url for url in urls if not _PART.fullmatch(url)), None)
        if stranger is not None:
            raise WorkError(f"k400_{split}_path.txt of {self.name} is no list of parts: it holds {stranger[:80]!r}")
        return urls

    def _rehearse(self, intake: Intake) -> list["_Leg"]:
        """The archives to stream, foretold: clips are dealt to parts at random, as the host has dealt them."""
        legs = []
        for split in self._settings.kinetics_splits:
            parts = self._parts(split)
            dealt: list[list[str]] = [[] for _ in parts]
            ids = [clip_id for clip_id, clip in intake.clips.items() if clip.official_split == split]
            random.Random(f"rehearsal-{self._settings.seed}").shuffle(ids)
            for number, clip_id in enumerate(ids if parts else ()):
                dealt[number % len(parts)].append(clip_id)
            needed = streamed = 0
            kept = 0.0
            for url, hand in zip(parts, dealt, strict=True):
                if intake.full:
                    break
                taken, size = intake.rehearse(hand), self._hosts.size(url) or 0
                needed, streamed, kept = needed + 1, streamed + size, kept + size * taken / max(1, len(hand))
            legs.append(_Leg(split, needed, len(parts), streamed, round(kept)))
        return legs

    def _foresee(self, wanted: dict[str, Annotation]) -> None:
        """Stop before the first byte when the clips will not fit into the budget."""
        if self._settings.disk_gb is not None:
            kept = sum(leg.kept for leg in self._rehearse(self._intake(wanted)))
            self._hosts.disk.require(kept, self.name)

    def _take(self, url: str, intake: Intake, seen: set[str]) -> None:
        """Stream one part, unless everything wanted from it is here already; add the clip ids it holds to `seen`.

        Raises:
            ClipError: see `TarArchive.extract`; the clips that came whole before the trouble are settled all the same.
        """
        part = TarArchive(self._hosts, url, self._folder / "parts")
        trouble: ClipError | None = None
        if not part.complete or not self._all_here(part, intake):

            def begin() -> MemberFilter:
                take = intake.begin()
                return lambda name: self._path(_clip_id(name)) if take(_clip_id(name)) else None

            try:
                part.extract(begin)
            except ClipError as error:
                trouble = error
        known = [_clip_id(name) for name in part.names]
        refused = {_clip_id(name): detail for name, detail in part.rejected.items()}
        chosen = {
            clip_id: Arrival(self._path(clip_id), f"{url}#{_member(clip_id)}", _length_s(intake.clips[clip_id]))
            for clip_id in intake.choose_all(known)
        }
        arrived = {clip_id: arrival for clip_id, arrival in chosen.items() if arrival.path.exists()}
        outcomes = probe_all(arrived, self._options, f"{self.name} probe")
        for clip_id in chosen.keys() & refused.keys():
            refusal = ClipError(Failure.TOO_LARGE, refused[clip_id])
            outcomes[clip_id] = Outcome.failed(digest("refused", clip_id), refusal)
        seen |= {clip_id for clip_id in known if clip_id in outcomes or trouble is None}
        intake.settle(
            {
                clip_id: Fetched(arrival.url, outcomes[clip_id], arrival.path if clip_id in arrived else None)
                for clip_id, arrival in chosen.items()
                if clip_id in outcomes
            }
        )
        if trouble is not None:
            raise trouble

    def _all_here(self, part: TarArchive, intake: Intake) -> bool:
        refused = {_clip_id(name) for name in part.rejected}
        chosen = intake.choose_all([_clip_id(name) for name in part.names])
        return all(clip_id in refused or self._path(clip_id).exists() for clip_id in chosen)

    def _repair(self, intake: Intake) -> None:
        """Replace broken clips by the host's replacement archive, matched by YouTube id."""
        broken = {intake.clips[clip_id].video_id: clip_id for clip_id in intake.broken()}
        if not broken or not self._has_replacements():
            return
        folder = self._folder / "replacements"
        missing = {video_id for video_id, clip_id in broken.items() if not (folder / f"{clip_id}.mp4").exists()}
        part = TarArchive(self._hosts, REPLACEMENTS, self._folder / "parts")
        if not part.complete or missing & {Path(name).name[:11] for name in part.names}:

            def choose(name: str) -> Path | None:
                video_id = Path(name).name[:11]
                return folder / f"{broken[video_id]}.mp4" if video_id in missing else None

            try:
                part.extract(lambda: choose)
            except ClipError as error:
                tqdm.write(f"{self.name}: {REPLACEMENTS}: {error}")
        arrived = {
            clip_id: Arrival(
                folder / f"{clip_id}.mp4", f"{REPLACEMENTS}#{_member(clip_id)}", _length_s(intake.clips[clip_id])
            )
            for clip_id in broken.values()
            if (folder / f"{clip_id}.mp4").exists()
        }
        outcomes = probe_all(arrived, self._options, f"{self.name} replacements")
        intake.settle(
            {
                clip_id: Fetched(arrived[clip_id].url, outcome, arrived[clip_id].path)
                for clip_id, outcome in outcomes.items()
                if outcome.error is None
            }
        )

    def _ask_youtube(self, intake: Intake, fate: "_Fate") -> None:
        """Fill what the archives could not, clip by clip, until every class is full or has nobody left to ask for."""
        if any(trouble.code in _PASSING for trouble in fate.troubled.values()):
            return  # the archives themselves may be had tomorrow
        youtube = YouTube(self._hosts, self._folder / "youtube", self._settings, self._options)
        while youtube.at_hand and youtube.refusal is None and (clips := intake.candidates()):
            arrived: dict[str, Arrival] = {}
            fetched: dict[str, Fetched] = {}
            for clip, url, downloaded in youtube.fetch(clips):
                if downloaded.result is None:
                    lost: Outcome[Probed] = replace(downloaded, result=None)
                    fetched[clip.clip_id] = Fetched(f"{WATCH}{clip.video_id}", lost)
                else:
                    arrived[clip.clip_id] = Arrival(Path(downloaded.result.path), url, _length_s(clip))
                fate.asked.add(clip.clip_id)
            outcomes = probe_all(arrived, self._options, f"{self.name} probe")
            fetched |= {
                clip_id: Fetched(arrived[clip_id].url, outcome, arrived[clip_id].path)
                for clip_id, outcome in outcomes.items()
            }
            intake.settle(fetched)
        if youtube.refusal is not None:
            fate.unasked = {clip.clip_id: youtube.refusal for clip in intake.candidates()}

    def _row(self, clip: Annotation, intake: Intake, fate: "_Fate") -> DownloadRow:
        clip_id, quota = clip.clip_id, intake.quota[clip.labels[0]]
        absence = None if clip_id in fate.seen else fate.absence(clip.official_split or "")
        if clip_id in intake.fetched:
            fetched, rank = intake.fetched[clip_id], intake.rank[clip_id]
            outcome = fetched.outcome
            if absence is not None and clip_id in fate.asked and outcome.error is not None:
                code = outcome.error if absence.code is Failure.NOT_FOUND else absence.code.value
                outcome = replace(outcome, error=code, error_detail=f"{absence.detail}; {outcome.error_detail}")
            return to_row(clip, replace(fetched, outcome=outcome), rank=rank, quota=quota)
        if clip_id in fate.unasked:
            refusal = fate.unasked[clip_id]
            return failed_row(clip, ClipError(refusal.code, f"in no archive at hand; {refusal.detail}"), quota=quota)
        if absence is not None:
            return failed_row(clip, absence, quota=quota)
        return spare_row(clip, quota=quota)

    def _has_replacements(self) -> bool:
        try:
            return self._hosts.exists(REPLACEMENTS)
        except ClipError as error:
            tqdm.write(f"{self.name}: {REPLACEMENTS}: {error}")
            return False

    def _say_shortage(self, intake: Intake) -> None:
        """Whether every class has what it should have; if not, which ones lack how many."""
        short = intake.shortage()
        if not short:
            print(
                f"{self.name}: {sum(intake.quota.values()):,} clips, the quota of every one of {len(intake.quota)} classes"
            )
            return
        print(f"{self.name}: {len(short)} classes lack {sum(short.values()):,} clips of their quota:")
        for label, count in short.items():
            print(f"  {label}: {count} of {intake.quota[label]}")

    def _path(self, clip_id: str) -> Path:
        return self._folder / f"{clip_id}.mp4"


@dataclass
class _Fate:
    """What is known of clips beside those that were taken in."""

    seen: set[str] = field(default_factory=set)  # in an archive
    finished: set[str] = field(default_factory=set)  # splits of which every archive was looked into
    troubled: dict[str, ClipError] = field(default_factory=dict)  # splits of which one could not be read
    asked: set[str] = field(default_factory=set)  # of YouTube
    unasked: dict[str, ClipError] = field(default_factory=dict)  # wanted of YouTube, which had refused by then

    def absence(self, split: str) -> ClipError | None:
        """Why a clip of `split` that was in no archive is not there; None if archives were left that nobody needed."""
        if split in self.troubled:
            return ClipError(self.troubled[split].code, f"in no readable part: {self.troubled[split].detail}")
        return ClipError(Failure.NOT_FOUND, f"in none of the {split} archives") if split in self.finished else None


@dataclass(frozen=True)
class _Leg:
    """What one split's archives are expected to bring."""

    split: str
    parts: int
    of: int
    streamed: int  # bytes
    kept: int  # bytes


def _clip_id(name: str) -> str:
    """The clip id that a member's name stands for; empty for names that are no clip's."""
    match = _MEMBER.fullmatch(name.removeprefix("./"))
    return f"k400-{match[1]}-{match[2]}-{match[3]}" if match else ""


def _length_s(clip: Annotation) -> float:
    return (clip.end_s or 0) - (clip.start_s or 0)


def _member(clip_id: str) -> str:
    return clip_id.removeprefix("k400-")[:11] + clip_id[16:].replace("-", "_") + ".mp4"
