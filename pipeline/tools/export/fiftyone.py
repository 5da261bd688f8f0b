"""FiftyOne's `FiftyOneTemporalDetectionDataset`: videos in `data/` and labels.json, plain JSON, so FiftyOne is not needed.

A clip's label is its class, over all of its frames; source, split and the publisher's labels are attributes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.files import write_json
from pipeline.records.rows import ShardRow
from pipeline.tools.export import videos
from pipeline.tools.export.clips import Part, Shape


def write(part: Part, folder: Path, shape: Shape) -> None:
    """Write the videos that are not there yet."""
    videos.write(part, folder / "data", shape)


def compare(part: Part, folder: Path, shape: Shape) -> None:
    """Decode the videos again and compare them, as `videos.compare`."""
    videos.compare(part, folder / "data", shape)


def write_labels(parts: Sequence[Part], folder: Path) -> None:
    """Write labels.json: the classes, and the label of each video by its name without suffix."""
    rows = [row for part in parts for row in part.rows]
    names = {row.class_id: row.class_name for row in rows}
    labels = {row.clip_id: [_label(row)] for row in sorted(rows, key=lambda row: row.clip_id)}
    write_json(folder / "labels.json", {"classes": [names[number] for number in sorted(names)], "labels": labels})


def _label(row: ShardRow) -> dict[str, Any]:
    """The class of a clip over its frames, which FiftyOne counts from 1 to the last, both included."""
    attributes: dict[str, Any] = {"source": row.source, "split": row.split, "class_id": row.class_id}
    if row.tinyvirat_labels is not None:
        attributes["tinyvirat_labels"] = ", ".join(row.tinyvirat_labels)
    return {"label": row.class_name, "support": [1, row.valid_frames], "attributes": attributes}
