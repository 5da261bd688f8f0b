"""The preview: a small parquet file of clips as animated pictures, so that a viewer shows movement and no strip of 64x6400."""

import json
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import WorkError
from pipeline.params import PipelineParams
from pipeline.records.rows import ShardRow
from pipeline.tools import animation, clip_frames

CLIPS = 100  # at most, each of another class
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TEXTS = ("clip_id", "class_name", "split", "source")
_SCHEMA = pa.schema(
    [pa.field("animation", _IMAGE), *(pa.field(name, pa.string()) for name in _TEXTS)],
    metadata={"huggingface": json.dumps({"info": {"features": {"animation": {"_type": "Image"}}}})},
)


def build(rows: Iterable[ShardRow], settings: PipelineParams) -> bytes:
    """The content of the parquet file: the first clip of each of the first classes, in WebP at the clips' own rate.

    Raises:
        WorkError: a filmstrip is damaged.
    """
    chosen: dict[int, ShardRow] = {}
    for row in sorted(rows, key=lambda row: (row.class_id, row.clip_id)):
        chosen.setdefault(row.class_id, row)
    clips = list(chosen.values())[:CLIPS]
    pictures = [{"bytes": _animate(row, settings), "path": f"{row.clip_id}.webp"} for row in clips]
    arrays = [pa.array(pictures, _IMAGE), *(pa.array([getattr(row, name) for row in clips]) for name in _TEXTS)]
    file = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, schema=_SCHEMA), file, compression="none")
    return bytes(file.getvalue().to_pybytes())


def _animate(row: ShardRow, settings: PipelineParams) -> bytes:
    try:
        frames = clip_frames.from_shard(row, settings.resize.size)[: row.valid_frames]
    except (OSError, ValueError) as error:
        raise WorkError(f"{row.shard}: {row.clip_id}: {error}: run `dvc repro -s -f shard`") from None
    return animation.encode(list(frames), ".webp", fps=settings.resample.fps)
