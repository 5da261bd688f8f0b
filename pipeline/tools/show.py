"""show: a contact sheet of a clip, of a class, or of what was lost for one reason, as a picture to look at."""

import textwrap
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.errors import ParamError, WorkError
from common.files import write_bytes
from pipeline import params
from pipeline.records import manifests
from pipeline.records.failures import ClipError, Failure
from pipeline.records.manifests import Row
from pipeline.runner.store import read
from pipeline.tools import funnel
from pipeline.video import filmstrip
from pipeline.video.container import open_video
from pipeline.video.picture import to_picture

_SCALE = 2  # 64 pixels are small on a screen
_CAPTION = 26
_COLUMNS = 10
_GLIMPSES = 5
_STEP = 3  # ticks between the frames of a class sheet: close enough to see movement
_INK, _PAPER, _GREY = (30, 30, 30), (255, 255, 255), (150, 150, 150)


def show_clip(clip_id: str, out: Path) -> None:
    """Write every tick of a clip: tick and time above the time of the source frame that it shows.

    Raises:
        WorkError: there is no such clip, or it was lost, with the reason.
    """
    row = _find("resize", clip_id)
    timeline = _find("resample", clip_id)
    settings = params.load()
    frames = _frames(row, settings.resize.size)
    base = _fraction(timeline["time_base"])
    captions = [
        (f"{tick} {tick / settings.resample.fps:.1f}s", f"{pts * base:.3f}s", tick < row["valid_frames"])
        for tick, pts in enumerate(timeline["timeline"])
    ]
    _write(out, _grid([_cell(frame, *caption) for frame, caption in zip(frames, captions, strict=True)]))
    print(
        f"{out}: {clip_id}, {row['valid_frames']} ticks of {timeline['codec']} {timeline['width']}x{timeline['height']}"
    )


def show_class(name: str, out: Path, clips: int = 6) -> None:
    """Write one line of ten frames, 0.3 s apart at 10 FPS, for each of the first `clips` clips of a class.

    Raises:
        WorkError: no class has this name.
    """
    table = manifests.read_table("shards")
    rows = table.filter(pc.field("class_name") == name).slice(0, clips).to_pylist()
    if not rows:
        raise WorkError(f"no class is named {name!r}: manifests/classes.parquet lists them")
    size = params.load().resize.size
    cells = []
    for row in rows:
        frames = _frames(row, size)
        ticks = np.arange(_COLUMNS) * _STEP % row["valid_frames"]
        cells += [
            _cell(frames[tick], f"{row['clip_id'][:18]}" if not n else "", str(tick)) for n, tick in enumerate(ticks)
        ]
    _write(out, _grid(cells))
    print(f"{out}: {len(rows)} clips of {name!r}, one a line")


def show_failures(code: str, out: Path, clips: int = 12) -> None:
    """Write one line for each of the first `clips` clips lost for the reason `code`: id, detail, what can be seen of it.

    Raises:
        ParamError: there is no such code.
        WorkError: nothing was lost for this reason.
    """
    if code not in set(Failure):
        raise ParamError(f"--failures {code}: must be one of {', '.join(Failure)}")
    tables = funnel.read()
    latest = tables[list(tables)[-1] if "clips" not in tables else "clips"]
    rows = [row for row in latest if row["error"] == code]
    if not rows:
        raise WorkError(f"no clip was lost as {code}: `python -m pipeline stats` lists the losses")
    raw = {row["clip_id"]: row["path"] for row in tables["download"]}
    strips = {row["clip_id"]: row for row in tables.get("resize", ()) if row["status"] == "ok"}
    size = params.load().resize.size
    lines = []
    for row in rows[:clips]:
        frames = (
            _frames(strips[row["clip_id"]], size) if row["clip_id"] in strips else _glimpses(raw[row["clip_id"]], size)
        )
        lines.append(np.hstack([_story(row), *(_cell(frame, "", "") for frame in frames[:_GLIMPSES])]))
    width = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    _write(out, np.vstack(padded))
    print(f"{out}: {len(lines)} of {len(rows)} clips lost as {code}, one a line")


def _glimpses(path: str | None, size: int) -> list[NDArray[np.uint8]]:
    """The first frames, a few ticks apart, that come out of a file in whatever state; none if none do."""
    frames: list[NDArray[np.uint8]] = []
    if path is None or not Path(path).exists():
        return frames
    try:
        with open_video(path) as (container, stream):
            for number, frame in enumerate(container.decode(stream)):
                if number % _STEP == 0:
                    frames.append(to_picture(frame, size, size))
                if len(frames) == _GLIMPSES:
                    break
    except (ClipError, av.FFmpegError, ValueError):
        pass  # that is why it is here
    return frames


def _story(row: Row) -> NDArray[np.uint8]:
    """What is known of a lost clip, as a picture as tall as a cell."""
    panel = np.full((_SCALE * 64 + _CAPTION + 4, 420, 3), _PAPER, np.uint8)
    lines = [row["clip_id"][:60], *textwrap.wrap(str(row["error_detail"]).encode("ascii", "replace").decode(), 60)]
    for number, text in enumerate(lines[:8]):
        cv2.putText(panel, text, (6, 18 + 16 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.38, _INK, 1, cv2.LINE_AA)
    return panel


def _find(name: str, clip_id: str) -> Row:
    table = manifests.read_table(name)
    rows: list[Row] = table.filter(pc.field("clip_id") == clip_id).to_pylist()
    if not rows:
        raise WorkError(f"no clip is named {clip_id!r} in {manifests.path_of(name)}")
    if rows[0]["status"] != "ok":
        raise WorkError(f"{clip_id} has no filmstrip: {rows[0]['error']}: {rows[0]['error_detail']}")
    return rows[0]


def _frames(row: Row, size: int) -> NDArray[np.uint8]:
    try:
        if "shard" in row:
            with Path(row["shard"]).open("rb") as tar:
                tar.seek(row["offset"])
                return filmstrip.decode(tar.read(row["length"]), size)
        return filmstrip.decode(read(Path(row["path"]), params.load().engine.store), size)
    except ValueError as error:
        raise WorkError(f"the filmstrip of {row['clip_id']} is damaged: {error}") from None


def _cell(frame: NDArray[np.uint8], top: str, bottom: str, real: bool = True) -> NDArray[np.uint8]:
    picture = frame.repeat(_SCALE, 0).repeat(_SCALE, 1)
    label = np.full((_CAPTION, picture.shape[1], 3), _PAPER, np.uint8)
    for line, text in enumerate((top, bottom)):
        colour = _INK if real else _GREY
        cv2.putText(label, text, (2, 11 + 12 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, 1, cv2.LINE_AA)
    return np.pad(np.vstack([label, picture]), ((2, 2), (2, 2), (0, 0)), constant_values=255)


def _grid(cells: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    blank = np.full_like(cells[0], 255)
    cells = cells + [blank] * (-len(cells) % _COLUMNS)
    return np.vstack([np.hstack(cells[start : start + _COLUMNS]) for start in range(0, len(cells), _COLUMNS)])


def _write(out: Path, picture: NDArray[np.uint8]) -> None:
    try:
        done, data = cv2.imencode(out.suffix or ".png", picture[..., ::-1])
    except cv2.error:
        done = False
    if not done:
        raise ParamError(f"{out}: name a picture that ends in .png or .jpg")
    write_bytes(out, data.tobytes())


def _fraction(text: str) -> float:
    numerator, _, denominator = text.partition("/")
    return int(numerator) / int(denominator or 1)
