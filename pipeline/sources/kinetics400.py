"""Kinetics-400 from the CVDF host: CSV annotations, tars of about 1,000 clips in random class order.

Parts are streamed in the order of the host's lists; a clip is kept while its class still lacks clips, and streaming
stops when every class has its quota and reserve. A part's decisions depend on the parts before it alone, so they come
out the same on every machine and in every rerun. Quotas count healthy clips: broken ones make room for the next part's.
"""

import csv
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from common.errors import WorkError
from common.files import write_json
from pipeline.failures import ClipError, Failure
from pipeline.layout import RAW
from pipeline.ledger import Outcome
from pipeline.manifests import Row
from pipeline.params import Download, Engine
from pipeline.sources.archives import stream_tar
from pipeline.sources.clips import Annotation, Arrival, failed_row, probe_all, spare_row, to_row
from pipeline.sources.hosts import Hosts

HOST = "https://s3.amazonaws.com/kinetics/400"
REPLACEMENTS = f"{HOST}/replacement_for_corrupted_k400.tgz"
_MEMBER = re.compile(r"([A-Za-z0-9_-]{11})_(\d{6})_(\d{6})\.mp4")
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


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


def quotas(labels: Iterable[str], clips: int, seed: int) -> dict[str, int]:
    """`clips` spread evenly over the classes; which classes get one more is drawn by `seed`."""
    classes = sorted(set(labels))
    each, extra = divmod(clips, max(1, len(classes)))
    lucky = set(random.Random(f"quota-{seed}").sample(classes, extra)) if classes else set()
    return {label: each + (label in lucky) for label in classes}


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

    def download(self) -> list[Row]:
        """One row per annotated clip: fetched and healthy, failed, or spare."""
        rows, wanted = self._plan()
        quota = quotas((clip.labels[0] for clip in wanted.values()), self._settings.kinetics_clips, self._settings.seed)
        intake = _Intake(wanted, quota, self._settings.reserve_per_class, self._preferred)
        troubled: dict[str, ClipError] = {}
        seen: set[str] = set()
        finished: set[str] = set()
        for split in self._settings.kinetics_splits:
            parts = self._hosts.read_text(f"{HOST}/{split}/k400_{split}_path.txt").split()
            for url in tqdm(parts, desc=f"{self.name} {split}", unit="part", disable=None):
                if intake.full:
                    break
                try:
                    self._take(url, intake, seen)
                except ClipError as error:
                    troubled[split] = error
            else:
                finished.add(split)
        self._repair(intake)
        self._say_shortage(intake)
        for clip in wanted.values():
            rows.append(self._row(clip, intake, seen, finished, troubled))
        return rows

    def plan(self) -> list[str]:
        """What `download` would fetch, in lines to read: clips by class, archives, bytes. Reads lists only."""
        rows, wanted = self._plan()
        quota = quotas((clip.labels[0] for clip in wanted.values()), self._settings.kinetics_clips, self._settings.seed)
        intake = _Intake(wanted, quota, self._settings.reserve_per_class, self._preferred)
        have = Counter(clip.labels[0] for clip in wanted.values())
        sizes = Counter(quota.values())
        short = {label: have[label] for label in quota if have[label] < quota[label]}
        reserve = sum(min(self._settings.reserve_per_class, max(0, have[label] - quota[label])) for label in quota)
        lines = [
            f"{len(wanted) + len(rows):,} clips annotated, {len(rows):,} of them without one clear label",
            f"{sum(quota.values()) - sum(quota[label] - n for label, n in short.items()):,} clips wanted of {len(quota)} classes ("
            + ", ".join(f"{count} classes of {size}" for size, count in sorted(sizes.items()))
            + f"), and {reserve:,} in reserve",
        ]
        if short:
            worst = ", ".join(f"{label} {n} of {quota[label]}" for label, n in list(short.items())[:5])
            lines.append(f"{len(short)} classes have fewer clips than wanted: {worst}")
        return lines + self._plan_parts(intake)

    def _plan_parts(self, intake: "_Intake") -> list[str]:
        """The archives to stream, by a rehearsal: clips dealt to parts at random, as the host has dealt them."""
        lines = []
        for split in self._settings.kinetics_splits:
            parts = self._hosts.read_text(f"{HOST}/{split}/k400_{split}_path.txt").split()
            dealt: list[list[str]] = [[] for _ in parts]
            ids = [clip_id for clip_id, clip in intake.clips.items() if clip.official_split == split]
            random.Random(f"rehearsal-{self._settings.seed}").shuffle(ids)
            for number, clip_id in enumerate(ids):
                dealt[number % len(parts)].append(clip_id)
            needed = 0
            for hand in dealt:
                if intake.full:
                    break
                intake.rehearse(hand)
                needed += 1
            size = sum(filter(None, (self._hosts.size(url) for url in parts[:needed])))
            lines.append(f"{split}: about {needed} of {len(parts)} parts to stream, {_gigabytes(size)}")
        return lines

    def _plan(self) -> tuple[list[Row], dict[str, Annotation]]:
        """Rows that are lost by annotation alone, and the clips that may be fetched."""
        rows: list[Row] = []
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
            rows.append(failed_row(clip, code, detail))
            del clips[clip.clip_id]
        return rows, clips

    def _take(self, url: str, intake: "_Intake", seen: set[str]) -> None:
        """Stream one part, unless everything wanted from it is here already; add the clip ids it holds to `seen`.

        Raises:
            ClipError: truncated; the clips that came whole before the damage are settled all the same.
        """
        listing = self._folder / "parts" / f"{'-'.join(url.split('/')[-2:])}.json"
        known = _read_listing(listing)
        trouble: ClipError | None = None
        if known is None or not all(self._path(clip_id).exists() for clip_id in intake.choose_all(known)):
            take = intake.begin()
            known = []

            def choose(name: str, size: int) -> Path | None:
                clip_id = _clip_id(name)
                known.append(clip_id)
                return self._path(clip_id) if take(clip_id) and not self._path(clip_id).exists() else None

            try:
                with self._hosts.open(url) as file:
                    stream_tar(file, choose)
                write_json(listing, known)
            except ClipError as error:
                trouble = error
        arrived = [clip_id for clip_id in intake.choose_all(known) if trouble is None or self._path(clip_id).exists()]
        chosen = {clip_id: Arrival(self._path(clip_id), f"{url}#{_member(clip_id)}") for clip_id in arrived}
        seen |= {clip_id for clip_id in known if clip_id in arrived or trouble is None}
        intake.settle(chosen, probe_all(chosen, self._options, f"{self.name} probe"))
        if trouble is not None:
            raise trouble

    def _repair(self, intake: "_Intake") -> None:
        """Replace broken clips by the host's replacement archive, matched by YouTube id."""
        broken = {intake.clips[clip_id].video_id: clip_id for clip_id in intake.broken()}
        if not broken or not self._has_replacements():
            return
        folder = self._folder / "replacements"
        missing = {video_id for video_id, clip_id in broken.items() if not (folder / f"{clip_id}.mp4").exists()}
        listing = self._folder / "parts" / "replacements.json"
        known = _read_listing(listing)
        if known is None or missing & {clip_id[5:16] for clip_id in known}:

            def choose(name: str, size: int) -> Path | None:
                video_id = Path(name).name[:11]
                return folder / f"{broken[video_id]}.mp4" if video_id in missing else None

            try:
                with self._hosts.open(REPLACEMENTS) as file:
                    write_json(listing, [_clip_id(name) for name in stream_tar(file, choose)])
            except ClipError as error:
                tqdm.write(f"{self.name}: {REPLACEMENTS}: {error}")
        arrived = {
            clip_id: Arrival(folder / f"{clip_id}.mp4", f"{REPLACEMENTS}#{_member(clip_id)}")
            for clip_id in broken.values()
            if (folder / f"{clip_id}.mp4").exists()
        }
        healthy = {
            clip_id: outcome
            for clip_id, outcome in probe_all(arrived, self._options, f"{self.name} replacements").items()
            if outcome.error is None
        }
        intake.settle({clip_id: arrived[clip_id] for clip_id in healthy}, healthy)

    def _row(
        self, clip: Annotation, intake: "_Intake", seen: set[str], finished: set[str], troubled: dict[str, ClipError]
    ) -> Row:
        quota = intake.quota[clip.labels[0]]
        if clip.clip_id in intake.outcomes:
            rank = intake.rank[clip.clip_id]
            return to_row(clip, intake.outcomes[clip.clip_id], intake.arrivals[clip.clip_id], rank=rank, quota=quota)
        split = clip.official_split or ""
        if clip.clip_id not in seen and split in troubled:
            trouble = troubled[split]
            return failed_row(clip, trouble.code, f"in no readable part: {trouble.detail}", quota=quota)
        if clip.clip_id not in seen and split in finished:
            return failed_row(clip, Failure.NOT_FOUND, f"in none of the {split} archives", quota=quota)
        return spare_row(clip, quota=quota)

    def _has_replacements(self) -> bool:
        try:
            return self._hosts.exists(REPLACEMENTS)
        except ClipError as error:
            tqdm.write(f"{self.name}: {REPLACEMENTS}: {error}")
            return False

    def _say_shortage(self, intake: "_Intake") -> None:
        short = intake.shortage()
        if short:
            worst = ", ".join(f"{label} {count}" for label, count in list(short.items())[:5])
            tqdm.write(f"{self.name}: {len(short)} classes lack {sum(short.values())} clips of their quota: {worst}")

    def _path(self, clip_id: str) -> Path:
        return self._folder / f"{clip_id}.mp4"


class _Intake:
    """Which clips of a part are kept, and what has become of those kept so far."""

    def __init__(
        self, clips: dict[str, Annotation], quota: dict[str, int], reserve: int, preferred: frozenset[str]
    ) -> None:
        self.clips, self.quota, self._reserve = clips, quota, reserve
        self.outcomes: dict[str, Outcome] = {}
        self.arrivals: dict[str, Arrival] = {}
        self.rank: dict[str, int] = {}
        self._healthy: Counter[str] = Counter()
        # A class that MiniKinetics can fill alone is filled from MiniKinetics.
        in_mini = Counter(clip.labels[0] for clip in clips.values() if clip.in_minikinetics200)
        self._mini_only = {label for label in quota if in_mini[label] >= 2 * (quota[label] + reserve)}

    @property
    def full(self) -> bool:
        return all(self._room(label) <= 0 for label in self.quota)

    def begin(self) -> Callable[[str], bool]:
        """A fresh decision over one part: call it with each clip id in the order of the archive."""
        taken: Counter[str] = Counter()
        chosen: set[str] = set()

        def take(clip_id: str) -> bool:
            clip = self.clips.get(clip_id)
            if clip is None or clip_id in chosen or clip_id in self.outcomes:
                return False
            label = clip.labels[0]
            if label in self._mini_only and not clip.in_minikinetics200:
                return False
            if taken[label] >= self._room(label):
                return False
            taken[label] += 1
            chosen.add(clip_id)
            return True

        return take

    def choose_all(self, clip_ids: Sequence[str]) -> list[str]:
        """The clips of a part that are kept, in its order."""
        take = self.begin()
        return [clip_id for clip_id in clip_ids if take(clip_id)]

    def settle(self, arrivals: dict[str, Arrival], outcomes: dict[str, Outcome]) -> None:
        """Record what became of a part's clips."""
        for clip_id, arrival in arrivals.items():
            self.arrivals[clip_id], self.outcomes[clip_id] = arrival, outcomes[clip_id]
            self.rank.setdefault(clip_id, len(self.rank))
            self._healthy[self.clips[clip_id].labels[0]] += outcomes[clip_id].error is None

    def rehearse(self, clip_ids: Sequence[str]) -> None:
        """Take a part's clips as if all of them were healthy."""
        for clip_id in self.choose_all(clip_ids):
            self.outcomes[clip_id] = Outcome("rehearsal")
            self._healthy[self.clips[clip_id].labels[0]] += 1

    def broken(self) -> list[str]:
        return [clip_id for clip_id, outcome in self.outcomes.items() if outcome.error is not None]

    def shortage(self) -> dict[str, int]:
        """Classes below their quota, and by how many clips, worst first."""
        lacking = {label: count - self._healthy[label] for label, count in self.quota.items()}
        return {label: n for label, n in sorted(lacking.items(), key=lambda item: (-item[1], item[0])) if n > 0}

    def _room(self, label: str) -> int:
        return self.quota[label] + self._reserve - self._healthy[label]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size else "of a size that the host does not tell"


def _clip_id(name: str) -> str:
    """The clip id that a member's name stands for; empty for names that are no clip's."""
    match = _MEMBER.fullmatch(name.removeprefix("./"))
    return f"k400-{match[1]}-{match[2]}-{match[3]}" if match else ""


def _member(clip_id: str) -> str:
    return clip_id.removeprefix("k400-")[:11] + clip_id[16:].replace("-", "_") + ".mp4"


def _read_listing(path: Path) -> list[str] | None:
    try:
        names: list[str] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return names
