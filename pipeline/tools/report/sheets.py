"""A small contact sheet for every class, in one JPEG each: a line of frames for each of its first clips."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.records.manifests import Row
from pipeline.video import filmstrip

FRAMES = 5  # of a clip, spread evenly over it
SIDE = 64  # pixels of a frame on the sheet
_QUALITIES = (72, 50, 30, 10)  # the first with which a sheet keeps to its share of ...
_BYTES = 18_000_000  # ... all sheets together: a page with them stays below 30 MB
_MOST = 5000  # classes with a sheet, and ...
_CLIPS = ((700, 3), (1500, 2), (_MOST, 1))  # ... clips on each


def sheets(rows: Sequence[Row], size: int) -> Iterator[tuple[int, bytes]]:
    """The class id and JPEG of each class's sheet; a class whose filmstrips cannot be read has none.

    Args:
        rows: the shards manifest's; clips of a class are taken in its order.
        size: pixels of a frame in the filmstrips.
    """
    members: dict[int, list[Row]] = {}
    for row in rows:
        members.setdefault(row["class_id"], []).append(row)
    clips = next((clips for most, clips in _CLIPS if len(members) <= most), 1)
    with ExitStack() as stack:
        shards: dict[str, int] = {}
        for class_id in tqdm(sorted(members)[:_MOST], desc="report", unit="class", disable=None):
            lines = []
            for row in members[class_id][:clips]:
                try:
                    if row["shard"] not in shards:
                        shards[row["shard"]] = os.open(Path(row["shard"]), os.O_RDONLY)
                        stack.callback(os.close, shards[row["shard"]])
                    data = os.pread(shards[row["shard"]], row["length"], row["offset"])
                    frames = filmstrip.decode(data, size)
                except (OSError, ValueError):
                    continue
                ticks = np.linspace(0, row["valid_frames"] - 1, FRAMES).astype(int)
                shrunk = [cv2.resize(frames[tick], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for tick in ticks]
                lines.append(np.hstack(shrunk))
            if lines:
                picture = np.ascontiguousarray(np.vstack(lines)[..., ::-1])
                yield class_id, _encode(picture, _BYTES // min(len(members), _MOST))


def _encode(picture: NDArray[np.uint8], limit: int) -> bytes:
    for quality in _QUALITIES:
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= limit:
            break
    return data
