"""What every source has in common: annotated clips, safe names for them, and the look at a file that has arrived."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.params import Engine
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import DownloadRow
from pipeline.runner import Job, Task, per_clip
from pipeline.runner.ledger import Outcome, digest, file_digest
from pipeline.video.container import demux, open_video

PROBE_VERSION = 2
_LENGTH_FACTOR, _LENGTH_MARGIN_S = 2, 5  # a careless cut adds keyframes before and after the annotated seconds
_LONGEST = 150  # leaves room for a suffix within the 255 bytes of a file name


@dataclass(frozen=True)
class Annotation:
    """A clip as its publisher describes it, before any of its bytes are here."""

    clip_id: str
    source: str
    video_id: str
    labels: tuple[str, ...]
    official_split: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    precut: bool = True
    in_minikinetics200: bool = False


@dataclass(frozen=True)
class Arrival:
    """A clip's file on disk, the URL it came from, and the annotated length that it is checked against, if any."""

    path: Path
    url: str
    annotated_s: float | None = None

    @property
    def max_s(self) -> float | None:
        """Seconds that the file may last at most."""
        return None if self.annotated_s is None else _LENGTH_FACTOR * self.annotated_s + _LENGTH_MARGIN_S


@dataclass(frozen=True)
class ProbeSettings:
    """How `probe` reads: `whole` files to their end, others only at their beginning."""

    whole: bool


@dataclass(frozen=True)
class Probed:
    """A file that was found to be a video."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """The attempt to fetch one clip: the URL that was tried, the outcome, and the file if any came."""

    url: str | None
    outcome: Outcome[Probed]
    path: Path | None = None


def make_id(*parts: str) -> str:
    """A clip_id of letters, digits, `-` and `_`. Parts that do not fit are shortened or replaced, and told apart by a digest."""
    plain = "-".join(parts)
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", unicodedata.normalize("NFKD", plain))
    if safe == plain and len(safe) <= _LONGEST:
        return safe
    return f"{safe[: _LONGEST - 9]}-{hashlib.sha256(plain.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def probe_all(
    arrivals: Mapping[str, Arrival],
    engine: Engine,
    label: str,
    *,
    whole: bool = True,
) -> dict[str, Outcome[Probed]]:
    """Probe every file that has arrived, on all cores; files that have not changed since the last run are not read again.

    Args:
        arrivals: by clip_id.
        label: of the progress bar.
        whole: each file is one short clip, and its end is probed too; else only its beginning.
    """
    tasks, keys = [], {}
    for clip_id, arrival in arrivals.items():
        status = arrival.path.stat()
        what = (str(arrival.path), whole, arrival.max_s)
        keys[clip_id] = digest("probe", PROBE_VERSION, status.st_size, status.st_mtime_ns, *what)
        tasks.append(Task(clip_id, arrival, status.st_size))
    job = Job(probe, ProbeSettings(whole), engine.timeout_s)
    return per_clip.map_clips("download", job, tasks, keys, Probed, engine, label=label)


def probe(arrival: Arrival, settings: ProbeSettings) -> Probed:
    """Size and digest of a file that opens, has a video stream, and whose first (and last) keyframe decodes.

    Raises:
        ClipError: unreadable_container, no_video_stream or decode_error; wrong_length for a clip that lasts far longer
            than annotated.
    """
    with open_video(arrival.path) as (container, stream):
        if settings.whole:
            _check_index(stream, arrival.path.stat().st_size)
        packets = (packet for packet in demux(container, stream) if packet.size)
        group: list[Packet] = []  # from the last keyframe on
        _decode_one(stream, packets, "first")
        first = last = None
        for packet in packets if settings.whole else ():
            if packet.is_keyframe:
                group.clear()
            group.append(packet)
            if packet.pts is not None:
                first = packet.pts if first is None else min(first, packet.pts)
                last = packet.pts if last is None else max(last, packet.pts)
        if first is not None and last is not None and stream.time_base is not None:
            _check_length(float((last - first) * stream.time_base), arrival)
        if group and group[0].is_keyframe:
            stream.codec_context.flush_buffers()
            _decode_one(stream, group, "last")
    return Probed(str(arrival.path), arrival.path.stat().st_size, file_digest(arrival.path))


def _check_index(stream: VideoStream, size: int) -> None:
    """An mp4 lists where every frame lies; a download cut short lacks the last ones."""
    end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if end > size:
        raise ClipError(Failure.DECODE_ERROR, f"the file is cut short: its index reaches to byte {end}, it has {size}")


def _check_length(seconds: float, arrival: Arrival) -> None:
    if arrival.max_s is not None and seconds > arrival.max_s:
        raise ClipError(
            Failure.WRONG_LENGTH,
            f"lasts {seconds:,.0f} s, annotated {arrival.annotated_s:g} s; at most "
            f"{_LENGTH_FACTOR:g} x {arrival.annotated_s:g} + {_LENGTH_MARGIN_S:g} s accepted",
        )


def _decode_one(stream: VideoStream, packets: Iterable[Packet], which: str) -> None:
    """Decode until one frame comes out: the first keyframe, unless the stream starts in the middle."""
    for packet in packets:
        with suppress(av.InvalidDataError):
            if packet.decode():
                return
    with suppress(av.EOFError):
        if stream.decode(None):
            return
    raise ClipError(Failure.DECODE_ERROR, f"the {which} keyframe cannot be decoded: the file is cut short or damaged")


def to_row(clip: Annotation, fetched: Fetched, *, rank: int | None = None, quota: int | None = None) -> DownloadRow:
    """The download row of a clip that was fetched, or that could not be."""
    outcome = fetched.outcome
    row = replace(spare_row(clip, quota=quota), rank=rank, url=fetched.url, attempts=outcome.attempts)
    # The stages below are keyed by what the clip is, not by where and when its file was written.
    if outcome.result is not None:
        return replace(
            row,
            status="ok",
            path=outcome.result.path,
            bytes=outcome.result.bytes,
            sha256=outcome.result.sha256,
            key=digest("download", outcome.result.sha256, clip.precut, clip.start_s, clip.end_s),
        )
    return replace(
        row,
        status="failed",
        error=outcome.error,
        error_detail=outcome.error_detail,
        path=str(fetched.path) if fetched.path is not None else None,
        key=digest("download", clip.clip_id, outcome.error, outcome.error_detail),
    )


def spare_row(clip: Annotation, *, quota: int | None) -> DownloadRow:
    """The row of a clip that is not needed: its class has its quota and reserve without it."""
    return DownloadRow(
        clip_id=clip.clip_id,
        source=clip.source,
        status="spare",
        attempts=0,
        video_id=clip.video_id,
        start_s=clip.start_s,
        end_s=clip.end_s,
        official_split=clip.official_split,
        labels=clip.labels,
        in_minikinetics200=clip.in_minikinetics200,
        precut=clip.precut,
        quota=quota,
    )


def failed_row(clip: Annotation, error: ClipError, *, quota: int | None = None) -> DownloadRow:
    """The row of a clip that is lost before there is a file to probe."""
    return to_row(clip, Fetched(None, Outcome.failed("", error)), quota=quota)
