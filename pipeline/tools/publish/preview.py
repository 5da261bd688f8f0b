"""The preview: clips as animated pictures, so that a viewer shows movement and no strip of 64x6400.

The same clips twice, because `datasets` reads all configurations of a repository in the format of the first: as a parquet
file by itself, and as a tar that is the configuration `preview` of the card. Some of them together are the card's picture.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import WorkError
from pipeline.composite.dataset import PREVIEW, PREVIEW_PICTURE, PREVIEW_TAR
from pipeline.composite.samples import tar_end, tar_member
from pipeline.params import PipelineParams
from pipeline.records.rows import ShardRow
from pipeline.tools import animation, clip_frames
from pipeline.video.picture import Picture

CLIPS = 100  # at most, each of another class
_IN_PICTURE = 12  # clips
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TEXTS = ("clip_id", "class_name", "split", "source")
_SCHEMA = pa.schema(
    [pa.field("animation", _IMAGE), *(pa.field(name, pa.string()) for name in _TEXTS)],
    metadata={"huggingface": json.dumps({"info": {"features": {"animation": {"_type": "Image"}}}})},
)


@dataclass(frozen=True)
class _Clip:
    row: ShardRow
    frames: Picture  # (T, H, W, 3), without padding
    webp: bytes

    @property
    def texts(self) -> dict[str, str]:
        return {name: getattr(self.row, name) for name in _TEXTS}


def build(rows: Iterable[ShardRow], settings: PipelineParams) -> Mapping[str, bytes]:
    """The content of each file by its name: the first clip of each of the first classes, in WebP at the clips' own rate.

    Raises:
        WorkError: a filmstrip is damaged.
    """
    chosen: dict[int, ShardRow] = {}
    for row in sorted(rows, key=lambda row: (row.class_id, row.clip_id)):
        chosen.setdefault(row.class_id, row)
    clips = [_read(row, settings) for row in list(chosen.values())[:CLIPS]]
    files = {PREVIEW: _to_parquet(clips), PREVIEW_TAR: _to_tar(clips)}
    if clips:
        files[PREVIEW_PICTURE] = _to_picture(clips[:_IN_PICTURE], len(chosen), settings.resample.fps)
    return files


def _read(row: ShardRow, settings: PipelineParams) -> _Clip:
    try:
        frames = clip_frames.from_shard(row, settings.resize.size)[: row.valid_frames]
    except (OSError, ValueError) as error:
        raise WorkError(f"{row.shard}: {row.clip_id}: {error}: run `dvc repro -s -f shard`") from None
    return _Clip(row, frames, animation.encode(list(frames), ".webp", fps=settings.resample.fps))


def _to_parquet(clips: Sequence[_Clip]) -> bytes:
    pictures = [{"bytes": clip.webp, "path": f"{clip.row.clip_id}.webp"} for clip in clips]
    arrays = [pa.array(pictures, _IMAGE), *(pa.array([clip.texts[name] for clip in clips]) for name in _TEXTS)]
    file = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, schema=_SCHEMA), file, compression="none")
    return bytes(file.getvalue().to_pybytes())


def _to_tar(clips: Sequence[_Clip]) -> bytes:
    """Samples `<clip_id>.webp` and `.json`."""
    members = []
    for clip in clips:
        members.append(tar_member(f"{clip.row.clip_id}.webp", clip.webp))
        members.append(tar_member(f"{clip.row.clip_id}.json", json.dumps(clip.texts, ensure_ascii=False).encode()))
    content = b"".join(members)
    return content + tar_end(len(content))


def _to_picture(clips: Sequence[_Clip], classes: int, fps: int) -> bytes:
    frames = animation.tile([clip.frames for clip in clips], f"{len(clips)} of {classes:,} classes")
    return animation.encode(frames, ".webp", fps=fps)
