"""The frames of one clip, from a shard, from its filmstrip, or from its video file."""

from itertools import islice
from pathlib import Path

from pipeline.records.failures import ClipError
from pipeline.records.rows import ResizeRow, ShardRow
from pipeline.runner.store import read
from pipeline.video import filmstrip
from pipeline.video.container import open_video
from pipeline.video.picture import Picture, to_picture


def from_shard(row: ShardRow, size: int) -> Picture:
    """All frames, `(T, size, size, 3) uint8` RGB.

    Raises:
        OSError: the shard cannot be read.
        ValueError: the filmstrip is damaged.
    """
    with Path(row.shard).open("rb") as tar:
        tar.seek(row.offset)
        return filmstrip.decode(tar.read(row.length), size)


def from_filmstrip(row: ResizeRow, size: int, store: str | None) -> Picture:
    """All frames, `(T, size, size, 3) uint8` RGB; `store` is `engine.store` of params.yaml.

    Raises:
        OSError: the filmstrip cannot be read.
        ValueError: it is damaged.
    """
    return filmstrip.decode(read(Path(row.path), store), size)


def from_video(path: str, size: int, *, count: int, step: int) -> list[Picture]:
    """Up to `count` frames, every `step`-th of the file, `(size, size, 3) uint8` RGB; as many as can be decoded."""
    frames: list[Picture] = []
    try:
        with open_video(path) as (container, stream):
            for frame in islice(container.decode(stream), 0, count * step, step):
                frames.append(to_picture(frame, size, size))  # noqa: PERF401 (frames before an error are kept)
    except ClipError:
        return frames  # damaged files are among those to show
    return frames
