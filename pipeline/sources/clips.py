"""What every source has in common: annotated clips, safe names for them, and the look at a file that has arrived."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.params import Engine
from pipeline.records.failures import ClipError, Failure
from pipeline.records.manifests import Row
from pipeline.runner import Task, per_clip
from pipeline.runner.ledger import Outcome, digest, file_digest
from pipeline.video.container import demux, open_video

PROBE_VERSION = 2
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
    """A clip's bytes on disk, and where they came from."""

    path: Path
    url: str


def make_id(*parts: str) -> str:
    """A clip_id of letters, digits, `-` and `_`. Parts that do not fit are shortened or replaced, and told apart by a digest."""
    plain = "-".join(parts)
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", unicodedata.normalize("NFKD", plain))
    if safe == plain and len(safe) <= _LONGEST:
        return safe
    return f"{safe[: _LONGEST - 9]}-{hashlib.sha256(plain.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def probe_all(
    arrivals: Mapping[str, Arrival],
    options: Engine,
    label: str,
    *,
    whole: bool = True,
    bounds: Mapping[str, float] | None = None,
) -> dict[str, Outcome]:
    """Look at every file that has arrived, on all cores; files that have not changed since are not looked at again.

    Args:
        whole: the file is one short clip and all of it must be there; else only its beginning is looked at.
        bounds: seconds that a clip may last at most, by clip_id.
    """
    tasks, keys = [], {}
    for clip_id, arrival in arrivals.items():
        status = arrival.path.stat()
        bound = bounds.get(clip_id) if bounds else None
        what = (str(arrival.path), whole, bound)
        keys[clip_id] = digest("probe", PROBE_VERSION, status.st_size, status.st_mtime_ns, *what)
        tasks.append(Task(clip_id, what, status.st_size))
    return per_clip.map_clips("download", probe, tasks, keys, options, label=label)


def probe(path: str, whole: bool, longest_s: float | None = None) -> dict[str, Any]:
    """The file's size and digest, when it opens, has a video stream, and its first (and last) keyframe decodes.

    Raises:
        ClipError: unreadable_container, no_video_stream or decode_error; checksum_mismatch
            for a clip that lasts longer than `longest_s`, which cannot be the annotated one.
    """
    with open_video(path) as (container, stream):
        if whole:
            _check_index(stream, Path(path).stat().st_size)
        packets = (packet for packet in demux(container, stream) if packet.size)
        group: list[Packet] = []  # from the last keyframe on
        _decode_one(stream, packets, "first")
        first = last = None
        for packet in packets if whole else ():
            if packet.is_keyframe:
                group.clear()
            group.append(packet)
            if packet.pts is not None:
                first = packet.pts if first is None else min(first, packet.pts)
                last = packet.pts if last is None else max(last, packet.pts)
        if first is not None and last is not None and stream.time_base is not None:
            _check_length(float((last - first) * stream.time_base), longest_s)
        if group and group[0].is_keyframe:
            stream.codec_context.flush_buffers()
            _decode_one(stream, group, "last")
    return {"path": path, "bytes": Path(path).stat().st_size, "sha256": file_digest(Path(path))}


def _check_index(stream: VideoStream, size: int) -> None:
    """An mp4 lists where every frame lies; a download cut short lacks the last ones."""
    end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if end > size:
        raise ClipError(Failure.DECODE_ERROR, f"the file is cut short: its index reaches to byte {end}, it has {size}")


def _check_length(seconds: float, longest_s: float | None) -> None:
    if longest_s is not None and seconds > longest_s:
        detail = f"it lasts {seconds:,.0f} s, and {longest_s:g} s at most were annotated: not the clip"
        raise ClipError(Failure.CHECKSUM_MISMATCH, detail)


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


def to_row(
    clip: Annotation, outcome: Outcome, arrival: Arrival | None, *, rank: int | None = None, quota: int | None = None
) -> Row:
    """The download row of a clip whose fate is known. An outcome with no path and no error is a spare never fetched."""
    row = annotation_row(clip) | per_clip.to_row({"clip_id": clip.clip_id, "source": clip.source}, outcome)
    row |= {"rank": rank, "quota": quota, "url": arrival.url if arrival else None}
    # The stages below are keyed by what the clip is, not by where and when its file was written.
    if outcome.error is None:
        row["key"] = digest("download", row["sha256"], clip.precut, clip.start_s, clip.end_s)
    else:
        row["key"] = digest("download", clip.clip_id, outcome.error, outcome.error_detail)
        row["path"] = str(arrival.path) if arrival and arrival.path.is_file() else None
    return row


def annotation_row(clip: Annotation) -> Row:
    """The columns that the annotation alone decides."""
    return {
        "clip_id": clip.clip_id,
        "source": clip.source,
        "video_id": clip.video_id,
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "official_split": clip.official_split,
        "labels": list(clip.labels),
        "in_minikinetics200": clip.in_minikinetics200,
        "precut": clip.precut,
    }


def spare_row(clip: Annotation, *, quota: int | None) -> Row:
    """The row of a clip that nobody needs: its class has its quota and reserve without it."""
    return annotation_row(clip) | {"status": "spare", "attempts": 0, "key": "", "quota": quota}


def failed_row(clip: Annotation, code: Failure, detail: str, *, quota: int | None = None) -> Row:
    """The row of a clip that is lost before any of its bytes were looked at."""
    outcome = Outcome.failed(digest("download", clip.clip_id, code.value), ClipError(code, detail))
    return to_row(clip, outcome, None, quota=quota)
