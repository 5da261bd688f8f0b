"""The manifests: what each parquet file holds, column by column, and how it is read and written.

The schemas below are the only place where columns are named; manifests/README.md is generated from them
(`python -m pipeline.records.manifests`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import WorkError
from common.files import replacing, write_bytes
from common.paths import MANIFESTS

Row = dict[str, Any]


def _column(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return pa.field(name, kind, metadata={"doc": doc})


_TEXT, _INT, _FLOAT, _BOOL, _TEXTS = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.list_(pa.string())

_CLIP = [
    _column("clip_id", _TEXT, "unique name of the clip; letters, digits, `-` and `_` only"),
    _column("source", _TEXT, "the entry under `sources` in params.yaml that the clip comes from"),
    _column("status", _TEXT, "`ok`, `failed` (see `error`), or `spare` (usable or not fetched, and not needed)"),
    _column("error", _TEXT, "failure code, null unless failed; kept from the stage where the clip was lost"),
    _column("error_detail", _TEXT, "what exactly was wrong, one line"),
    _column("attempts", _INT, "how often the stage that decided has tried this clip"),
    _column(
        "key", _TEXT, "digest of the clip's input and of the params that shaped this row: equal keys, equal results"
    ),
]
_CLASS = [
    _column("class_id", _INT, "dense class index from 0, in order of source and name"),
    _column("class_name", _TEXT, "name of the class; label sets are joined by ` + `"),
]
_OFFICIAL = _column("official_split", _TEXT, "train, val or test as the dataset's publisher has it; null if none")
_TINYVIRAT = _column(
    "tinyvirat_labels", _TEXTS, "all TinyVIRAT labels of the clip in their given order; null elsewhere"
)
_VALID = _column("valid_frames", _INT, "ticks that show the clip itself; the rest up to 100 is padding")
_PATH = _column("path", _TEXT, "file with this stage's result, relative to the project folder")
_BYTES = _column("bytes", _INT, "size of that file in bytes")

SCHEMAS: dict[str, pa.Schema] = {
    "download": pa.schema(
        [
            *_CLIP,
            _column("video_id", _TEXT, "the video that the clip was cut from: YouTube id, VIRAT scene, or file"),
            _column("start_s", _FLOAT, "start of the clip in that video, seconds; null if the file is the clip"),
            _column("end_s", _FLOAT, "end of the clip in that video, seconds; null if the file is the clip"),
            _OFFICIAL,
            _column("labels", _TEXTS, "the publisher's labels of the clip"),
            _column("in_minikinetics200", _BOOL, "the video is on MiniKinetics-200's lists"),
            _column("url", _TEXT, "where the bytes came from; `archive#member` for a file in an archive"),
            _column("path", _TEXT, "the file as it came, also of failed clips if there is one"),
            _BYTES,
            _column("sha256", _TEXT, "digest of the file's content"),
            _column("precut", _BOOL, "the file holds just the clip; else `start_s` to `end_s` of it are wanted"),
            _column("rank", _INT, "order of arrival in its class: lower ranks fill the class's quota first"),
            _column("quota", _INT, "how many clips its class is to have; null: all there are"),
        ]
    ),
    "trim": pa.schema(
        [
            *_CLIP,
            _PATH,
            _column("lead_in_s", _FLOAT, "seconds in the file from its first frame to the wanted start of the clip"),
            _column("duration_s", _FLOAT, "length of the clip in seconds, clamped to what the video has"),
            _BYTES,
        ]
    ),
    "resample": pa.schema(
        [
            *_CLIP,
            _PATH,
            _column("container", _TEXT, "container format as FFmpeg names it"),
            _column("codec", _TEXT, "video codec as FFmpeg names it"),
            _column("width", _INT, "coded width, pixels"),
            _column("height", _INT, "coded height, pixels"),
            _column("rotation", _INT, "degrees counter-clockwise by which a player turns the picture"),
            _column("avg_fps", _FLOAT, "frames per second by timestamps, over the clip"),
            _column("source_frames", _INT, "frames in the clip before resampling"),
            _column("time_base", _TEXT, "seconds per unit of `timeline`, a fraction such as `1/15360`"),
            _column("timeline", pa.list_(_INT), "for each tick, the presentation timestamp of the frame on screen"),
            _column("timeline_from", _TEXT, "`packets` (container timestamps) or `frames` (a decode, where those lie)"),
            _column(
                "clock", _TEXT, "times are `presentation` stamps, stamps in decoding `order`, or the nominal `rate`"
            ),
            _VALID,
        ]
    ),
    "resize": pa.schema(
        [
            *_CLIP,
            _PATH,
            _BYTES,
            _column("sha256", _TEXT, "digest of the filmstrip"),
            _VALID,
            _column(
                "decode_s",
                _FLOAT,
                "seconds one core took to decode and resize; measured, so the one column that differs between runs",
            ),
        ]
    ),
    "clips": pa.schema(
        [
            *_CLIP,
            *_CLASS,
            _column("labels", _TEXTS, "the publisher's labels of the clip"),
            _TINYVIRAT,
            _OFFICIAL,
            _column("video_id", _TEXT, "the video that the clip was cut from"),
            _column("in_minikinetics200", _BOOL, "the video is on MiniKinetics-200's lists"),
            _PATH,
            _BYTES,
            _column("sha256", _TEXT, "digest of the filmstrip"),
            _VALID,
        ]
    ),
    "classes": pa.schema(
        [
            *_CLASS,
            _column("source", _TEXT, "the source that the class comes from"),
            _column("member_labels", _TEXTS, "labels whose set makes the class"),
            _column("clips", _INT, "clips in the class"),
        ]
    ),
    "splits": pa.schema(
        [
            *_CLASS,
            _column(
                "split",
                _TEXT,
                "train or test: evaluation sees only classes that training never saw; by `split.file` also val or unused",
            ),
            _column("clips", _INT, "clips in the class"),
        ]
    ),
    "shards": pa.schema(
        [
            *_CLIP,
            *_CLASS,
            _column("split", _TEXT, "train, val or test, by class"),
            _OFFICIAL,
            _TINYVIRAT,
            _VALID,
            _column("sha256", _TEXT, "digest of the filmstrip"),
            _column("shard", _TEXT, "tar file that holds the clip, relative to the project folder"),
            _column("offset", _INT, "first byte of the filmstrip in that tar"),
            _column("length", _INT, "size of the filmstrip in bytes"),
        ]
    ),
}
SIDES = ("train", "val", "test")  # val: only where a given list has one
SORTED_BY = {"classes": "class_id", "splits": "class_id"}
PURPOSE = {
    "download": "One row per annotated clip: wanted or not, fetched or not, and from where.",
    "trim": "Each clip as a file of its own, and where the wanted start lies in it.",
    "resample": "The timeline: which frame of the source a viewer sees at each tick.",
    "resize": "The filmstrip: the clip's frames under one another in one image.",
    "clips": "The composite: every clip with its class, or the reason why it has none.",
    "classes": "The classes and what they are made of.",
    "splits": "Which classes are for training and which are held out.",
    "shards": "Where each clip lies in the shards; enough for random access by offset.",
}


RECIPES = {
    "Which clips failed, and why? (DuckDB)": (
        "sql",
        """
SELECT source, error, count(*) AS clips, any_value(clip_id || ': ' || error_detail) AS example
FROM 'manifests/clips.parquet' WHERE status = 'failed' GROUP BY ALL ORDER BY clips DESC
""",
    ),
    "How many clips has each class, and in which split? (DuckDB)": (
        "sql",
        """
SELECT class_name, split, clips FROM 'manifests/splits.parquet' ORDER BY clips DESC, class_name
""",
    ),
    "Which clips of the test split are on MiniKinetics-200's lists? (DuckDB)": (
        "sql",
        """
SELECT clip_id, class_name FROM 'manifests/shards.parquet' JOIN 'manifests/clips.parquet' USING (clip_id, class_name)
WHERE split = 'test' AND in_minikinetics200
""",
    ),
    "What became of one video? (pandas)": (
        "python",
        """
import pandas
clips = pandas.read_parquet("manifests/download.parquet").merge(
    pandas.read_parquet("manifests/clips.parquet")[["clip_id", "status", "error_detail"]], on="clip_id", suffixes=("", "_now"))
print(clips[clips.video_id == clips.video_id.iloc[0]][["clip_id", "start_s", "status_now", "error_detail_now"]])
""",
    ),
    "Which classes lost most of what was wanted? (pandas)": (
        "python",
        """
import pandas
rows = pandas.read_parquet("manifests/download.parquet").query("status != 'spare'")
print(rows.assign(label=rows.labels.str[0], lost=rows.status == "failed").groupby("label").lost.mean().nlargest(10))
""",
    ),
    "One clip's frames by byte offset, with nothing but a file handle": (
        "python",
        """
import cv2, numpy, pandas
row = pandas.read_parquet("manifests/shards.parquet").iloc[0]
with open(row.shard, "rb") as shard:
    shard.seek(row.offset)
    strip = cv2.imdecode(numpy.frombuffer(shard.read(row.length), "u1"), cv2.IMREAD_COLOR_RGB)
frames = strip.reshape(-1, strip.shape[1], strip.shape[1], 3)
print(row.clip_id, frames.shape)
""",
    ),
    "The test split as a Hugging Face dataset": (
        "python",
        """
import datasets
test = datasets.load_dataset("data/shards", split="test")
print(test[0]["__key__"], test[0]["json"]["class_name"], test[0]["jpg"].size)
""",
    ),
}


def path_of(name: str) -> Path:
    """The file of manifest `name`."""
    return MANIFESTS / f"{name}.parquet"


def read_table(name: str) -> pa.Table:
    """Read a manifest.

    Raises:
        WorkError: it is missing, is no parquet file, or has other columns than its schema.
    """
    path = path_of(name)
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise WorkError(f"{path} is not here: run `dvc repro`, which makes it") from None
    except (pa.ArrowInvalid, pa.ArrowIOError) as error:
        raise WorkError(f"{path} cannot be read ({error}): delete it and run `dvc repro`") from None
    if table.schema.names != SCHEMAS[name].names:
        odd = sorted(set(table.schema.names) ^ set(SCHEMAS[name].names)) or ["their order"]
        raise WorkError(f"{path} has other columns than this version writes ({', '.join(odd)}): run `dvc repro -f`")
    return table


def read(name: str) -> list[Row]:
    """The rows of manifest `name`, in its order."""
    rows: list[Row] = read_table(name).to_pylist()
    return rows


def write(name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a manifest: sorted, typed by its schema (absent keys are null), the same bytes for the same rows."""
    order = SORTED_BY.get(name, "clip_id")
    schema = SCHEMAS[name]
    ranked = sorted(rows, key=lambda row: row[order])
    columns = [pa.array([row.get(field.name) for row in ranked], field.type) for field in schema]
    with replacing(path_of(name)) as temporary:
        # pq adds nothing of time or place; the row group size is fixed so that bytes do not follow a default.
        pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd", row_group_size=65536)


def dictionary() -> str:
    """manifests/README.md: the data dictionary, from the schemas, and recipes."""
    parts = [
        "# Manifests\n",
        "One parquet file per stage (zstd), one row per clip (per class in `classes` and `splits`), sorted by id.",
        "A clip lost in one stage stays in the manifests of the later ones with the same `error`, so that",
        "`clips.parquet` alone answers why a clip is missing. Generated by `python -m pipeline.records.manifests`.\n",
    ]
    for name, schema in SCHEMAS.items():
        parts += [f"## {name}.parquet\n", PURPOSE[name] + "\n", "| column | type | meaning |", "|---|---|---|"]
        parts += [f"| `{field.name}` | {_type_name(field.type)} | {_doc(field)} |" for field in schema]
        parts.append("")
    parts.append("# Recipes\n")
    parts.append("From the project's folder. Each is run by a test.\n")
    for question, (language, recipe) in RECIPES.items():
        parts += [f"{question}\n", f"```{language}", recipe.strip(), "```\n"]
    return "\n".join(parts)


def failures(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many clips failed, by code, most frequent first."""
    counts: dict[str, int] = {}
    for row in rows:
        if row["status"] == "failed":
            counts[row["error"]] = counts.get(row["error"], 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _type_name(kind: pa.DataType) -> str:
    return f"list<{kind.value_type}>" if pa.types.is_list(kind) else str(kind)


def _doc(field: pa.Field) -> str:
    return (field.metadata or {})[b"doc"].decode()


if __name__ == "__main__":
    write_bytes(MANIFESTS / "README.md", dictionary().encode())
