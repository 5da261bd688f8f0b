"""A small contact sheet for every class, as one JPEG: one row of frames for each of its first clips."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from tqdm import tqdm

from pipeline.records.rows import ShardRow
from pipeline.tools import clip_frames
from pipeline.tools.contact_sheet import encode, stack
from pipeline.video.picture import Picture

FRAMES = 5  # per clip, evenly spread over it
SIDE = 64  # pixels; width and height of a frame on the sheet
_QUALITIES = (72, 50, 30, 10)  # of JPEG, tried in this order until a sheet is within its share of the total
_TOTAL_BYTES = 18_000_000  # of all sheets, so that the page stays below 30 MB
_MAX_SHEETS = 5000
_CLIPS = ((700, 3), (1500, 2), (_MAX_SHEETS, 1))  # largest number of classes, and clips per sheet up to it


def sheets(rows: Sequence[ShardRow], size: int) -> Iterator[tuple[int, bytes]]:
    """The class id and the JPEG of each class's sheet; a class of which no filmstrip can be read has none.

    Args:
        rows: of the shards manifest; the first clips of each class in this order are shown.
        size: width and height of a frame in the filmstrips, pixels.
    """
    members: dict[int, list[ShardRow]] = {}
    for row in rows:
        members.setdefault(row.class_id, []).append(row)
    clips = next((clips for limit, clips in _CLIPS if len(members) <= limit), 1)
    limit = _TOTAL_BYTES // max(1, min(len(members), _MAX_SHEETS))
    for class_id in tqdm(sorted(members)[:_MAX_SHEETS], desc="report", unit="class", disable=None):
        lines = [frames for row in members[class_id][:clips] if (frames := _sample_frames(row, size))]
        if lines:
            yield class_id, _encode_within(stack(lines), limit)


def _sample_frames(row: ShardRow, size: int) -> list[Picture]:
    """`FRAMES` frames of `SIDE` x `SIDE` pixels, evenly spread over the clip; none if its filmstrip cannot be read."""
    try:
        frames = clip_frames.from_shard(row, size)
    except (OSError, ValueError):
        return []
    ticks = np.linspace(0, row.valid_frames - 1, FRAMES).astype(int)
    return [np.asarray(cv2.resize(frames[tick], (SIDE, SIDE), interpolation=cv2.INTER_AREA)) for tick in ticks]


def _encode_within(sheet: Picture, limit: int) -> bytes:
    """The JPEG of the first of `_QUALITIES` that takes at most `limit` bytes, else of the last."""
    for quality in _QUALITIES:
        data = encode(sheet, ".jpg", quality=quality)
        if len(data) <= limit:
            break
    return data
