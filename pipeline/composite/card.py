"""The dataset card beside the shards: what is in them, where it comes from, and under which terms; Hugging Face's format."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.params import PipelineParams
from pipeline.records.manifests import SIDES, Row

_SOURCES = {
    "kinetics400": (
        "Kinetics-400 (Kay et al. 2017, arXiv 1705.06950)",
        "annotations CC BY 4.0; the videos belong to those who put them on YouTube",
    ),
    "minikinetics200": (
        "MiniKinetics-200 (Xie et al. 2018, arXiv 1712.04851), a subset of Kinetics-400",
        "as Kinetics-400",
    ),
    "tinyvirat": ("TinyVIRAT (Demir et al. 2020, arXiv 2007.07355)", "the terms of the VIRAT Video Dataset"),
    "folder": ("a folder of labelled videos", "its owner's"),
}
_RULES = {
    "label_sets": "a TinyVIRAT clip's class is its set of labels; rarer sets join the most frequent kept set in them",
    "first_label": "a TinyVIRAT clip's class is its first label",
    "source_video": "a TinyVIRAT clip's class is the VIRAT video it was cut from",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write(rows: Sequence[Row], digests: Mapping[str, str], kinds: Mapping[str, str], settings: PipelineParams) -> str:
    """The card's text.

    Args:
        rows: the shards manifest's.
        digests: sha256 of every shard, by file name.
        kinds: of the sources, by name.
    """
    sides = [side for side in SIDES if any(row["split"] == side for row in rows)]
    present = [name for name in kinds if any(row["source"] == name for row in rows)]
    frames, fps, size = settings.resample.frames, settings.resample.fps, settings.resize.size
    lines = [
        *_header(rows, sides),
        "# Composite action dataset: Kinetics-400, MiniKinetics-200, TinyVIRAT"
        if {kinds[name] for name in present} & {"kinetics400", "tinyvirat"}
        else "# Action dataset",
        "",
        f"{len(rows):,} clips of {len({row['class_id'] for row in rows})} classes; {frames} frames at {fps} FPS, "
        f"{size}x{size}."
        + (" Every clip is drawn, a stand-in for the real one." if settings.corpus == "sample" else ""),
        "",
        "| split | classes | clips |",
        "|---|---|---|",
        *(_side_line(side, rows) for side in sides),
        "",
        "No class is in two splits, and neither is any clip, content or YouTube video.",
        "",
        "## A sample",
        "",
        f"`<clip_id>.{settings.resize.format}` is a filmstrip: the clip's {frames} frames under one another in one image, "
        f"{size} wide and {frames * size} tall. `<clip_id>.json` describes the clip, `<clip_id>.cls` is its class id. "
        "`valid_frames` frames show the clip; the rest repeats it.",
        "",
        "    import cv2, numpy, webdataset",
        f'    for sample in webdataset.WebDataset("{sides[0] if sides else "train"}-000000.tar", shardshuffle=False):',
        f'        strip = cv2.imdecode(numpy.frombuffer(sample["{settings.resize.format}"], "u1"), cv2.IMREAD_COLOR_RGB)',
        f"        frames = strip.reshape({frames}, {size}, {size}, 3)",
        "",
        "## Sources",
        "",
        "| source | clips | classes | what | terms |",
        "|---|---|---|---|---|",
        *(_source_line(name, kinds[name], rows) for name in present),
        "",
        "## How it was made",
        "",
        f"- class rule `{settings.merge.class_rule}`: {_RULES[settings.merge.class_rule]}"
        if "tinyvirat" in (kinds[name] for name in present)
        else "- a clip's class is its label",
        f"- classes split by `{settings.split.by}`, seed {settings.split.seed}",
        f"- clips shuffled into shards by seed {settings.shard.seed}",
        "",
        "| shard | sha256 |",
        "|---|---|",
        *(f"| {name} | `{digest}` |" for name, digest in sorted(digests.items())),
        "",
    ]
    return "\n".join(lines)


def _header(rows: Sequence[Row], sides: Sequence[str]) -> list[str]:
    size = next((name for limit, name in _SIZES if len(rows) < limit), "n>1M")
    files = [f"      - split: {'validation' if side == 'val' else side}\n        path: {side}-*.tar" for side in sides]
    return [
        "---",
        "license: other",
        "pretty_name: Composite action dataset",
        "task_categories: [video-classification]",
        "tags: [webdataset, action-recognition, few-shot-learning]",
        f"size_categories: [{json.dumps(size)}]",
        "configs:",
        "  - config_name: default",
        "    data_files:",
        *files,
        "---",
        "",
    ]


def _side_line(side: str, rows: Sequence[Row]) -> str:
    inside = [row for row in rows if row["split"] == side]
    return f"| {side} | {len({row['class_id'] for row in inside}):,} | {len(inside):,} |"


def _source_line(name: str, kind: str, rows: Sequence[Row]) -> str:
    inside = [row for row in rows if row["source"] == name]
    title, terms = _SOURCES[kind]
    return f"| {name} | {len(inside):,} | {len(Counter(row['class_id'] for row in inside)):,} | {title} | {terms} |"
