"""A check of downloaded files: the container opens, the first and last keyframes decode, and the length is plausible."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.params import Engine
from pipeline.records.failures import ClipError, Failure
from pipeline.runner import Job, Task, per_clip
from pipeline.runner.ledger import digest, file_digest
from pipeline.runner.speed import Speed
from pipeline.sources.clips import Arrival, Fetched, Probed
from pipeline.video.container import demux, open_video

VERSION = 2  # raised whenever `probe` would give another result for the same file


@dataclass(frozen=True)
class ProbeSettings:
    """`whole`: read each file to its end; else only its beginning."""

    whole: bool


def probe_all(
    arrivals: Mapping[str, Arrival], engine: Engine, label: str, *, whole: bool = True, speed: Speed | None = None
) -> dict[str, Fetched]:
    """Probe files on all cores; those that have not changed since an earlier run are not read again.

    Args:
        arrivals: by clip_id.
        label: of the progress bar.
        whole: each file is one short clip, and is read to its end; else only its beginning.
        speed: where to count the files that are read now.
    """
    tasks, keys, unread = [], {}, dict[str, Fetched]()
    for clip_id, arrival in arrivals.items():
        try:
            status = arrival.path.stat()
        except OSError as error:
            unread[clip_id] = Fetched.failed(arrival.url, _unreadable(arrival.path, error))
            continue
        what = (str(arrival.path), whole, arrival.max_s)
        keys[clip_id] = digest("probe", VERSION, status.st_size, status.st_mtime_ns, *what)
        tasks.append(Task(clip_id, arrival, status.st_size))
    job = Job(probe, ProbeSettings(whole), engine.timeout_s, engine.memory_mb or 0)
    outcomes = per_clip.map_clips("download", job, tasks, keys, Probed, engine, label=label, speed=speed)
    return unread | {
        clip_id: Fetched(arrival.url, outcomes[clip_id], arrival.path)
        for clip_id, arrival in arrivals.items()
        if clip_id not in unread
    }


def probe(arrival: Arrival, settings: ProbeSettings) -> Probed:
    """Size and digest of a readable video file.

    Raises:
        ClipError: unreadable_container, no_video_stream or decode_error; wrong_length: it lasts far longer than annotated.
    """
    try:
        return _probe(arrival, settings)
    except OSError as error:
        raise _unreadable(arrival.path, error) from None


def _probe(arrival: Arrival, settings: ProbeSettings) -> Probed:
    with open_video(arrival.path) as (container, stream):
        if settings.whole:
            _check_index(stream, arrival.path.stat().st_size)
        packets = (packet for packet in demux(container, stream) if packet.size)
        group: list[Packet[VideoStream]] = []  # from the last keyframe on
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


def _unreadable(path: Path, error: OSError) -> ClipError:
    """The failure of a file that was deleted or became unreadable while it was probed."""
    code = Failure.NOT_FOUND if isinstance(error, FileNotFoundError) else Failure.UNREADABLE_CONTAINER
    return ClipError(code, f"{path} cannot be read: {error.strerror}")


def _check_index(stream: VideoStream, size: int) -> None:
    """An mp4 lists where every frame lies; a download cut short lacks the last ones."""
    end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if end > size:
        raise ClipError(Failure.DECODE_ERROR, f"the file is cut short: its index reaches to byte {end}, it has {size}")


def _check_length(seconds: float, arrival: Arrival) -> None:
    if arrival.max_s is not None and seconds > arrival.max_s:
        detail = f"lasts {seconds:,.0f} s, annotated {arrival.annotated_s:g} s; at most {arrival.max_s_text} accepted"
        raise ClipError(Failure.WRONG_LENGTH, detail)


def _decode_one(stream: VideoStream, packets: "Iterable[Packet[VideoStream]]", which: str) -> None:
    """Decode until one frame comes out: the first keyframe, unless the stream starts in the middle."""
    for packet in packets:
        with suppress(av.FFmpegError):  # of any kind: decoders return -1, which reads as "not permitted"
            if packet.decode():
                return
    with suppress(av.FFmpegError):
        if stream.decode(None):
            return
    raise ClipError(Failure.DECODE_ERROR, f"the {which} keyframe cannot be decoded: the file is cut short or damaged")
