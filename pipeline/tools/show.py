"""show: draw a contact sheet or an animation of a clip or of a class, or a sheet of the clips with one failure code."""

import contextlib
import dataclasses
import sys
import textwrap
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.command import print_json
from common.errors import ParamError, WorkError
from common.files import sweep_beside, write_bytes
from pipeline import params
from pipeline.params import PipelineParams
from pipeline.records import manifests
from pipeline.records.failures import Failure
from pipeline.records.rows import ClipRow, DownloadRow, ResampleRow, ResizeRow, ShardRow
from pipeline.tools import animation, clip_frames, contact_sheet, funnel
from pipeline.tools.contact_sheet import cell, stack, text
from pipeline.video.picture import Picture

_COLUMNS = 10  # frames per row of a clip's or a class's sheet
_STEP = 3  # ticks between the frames of a row: close enough to see the movement
_FAILED_FRAMES = 5  # frames shown of a failed clip
_PANEL = 420  # pixels; width of the text beside them


def main(
    out: Path, clip_id: str | None = None, class_name: str | None = None, failures: str | None = None
) -> Sequence[ClipRow]:
    """Write the sheet of exactly one of: a clip, a class, a failure code; an animation where `out` ends in .gif or .webp.

    Returns the rows of the clips that are shown.
    """
    if class_name is not None:
        return show_class(class_name, out)
    if failures is not None:
        return show_failures(failures, out)
    return show_clip(str(clip_id), out)


def main_json(
    out: Path, clip_id: str | None = None, class_name: str | None = None, failures: str | None = None
) -> None:
    """As `main`; one JSON document names the picture and has the rows of its clips, and the ticks of a clip in seconds."""
    with contextlib.redirect_stdout(sys.stderr):
        rows = main(out, clip_id, class_name, failures)
    document: dict[str, object] = {"out": str(out), "clips": [dataclasses.asdict(row) for row in rows]}
    if clip_id is not None:
        _, resampled = _find_clip(clip_id)
        time_base = Fraction(resampled.time_base)
        document["source_s"] = [float(pts * time_base) for pts in resampled.timeline]
    print_json(document)


def show_clip(clip_id: str, out: Path) -> Sequence[ClipRow]:
    """Write all ticks of a clip, each with its tick, its time, and the time of the source frame; padding is grey.

    An animation shows the ticks without padding, at their own rate.

    Raises:
        WorkError: there is no such clip, or it has no filmstrip; with the reason.
        ParamError: `out` is not named as a picture.
    """
    settings = params.load()
    row, resampled = _find_clip(clip_id)
    frames = _filmstrip(row, settings)
    source = f"{resampled.codec} {resampled.width}x{resampled.height}"
    measured = f"motion {row.motion:.4f}, sharpness {row.sharpness:.4f}, brightness {row.brightness:.2f}"
    told = f"{out}: {clip_id}, {row.valid_frames} ticks of {source}, {measured}"
    if out.suffix in animation.SUFFIXES:
        _animate(out, [frames[: row.valid_frames]], clip_id, settings)
        print(told)
        return [row]
    time_base = Fraction(resampled.time_base)
    cells = [
        cell(
            frame,
            f"{tick}: {tick / settings.resample.fps:.1f} s",
            f"source {float(pts * time_base):.3f} s",
            grey=tick >= row.valid_frames,
        )
        for tick, (frame, pts) in enumerate(zip(frames, resampled.timeline, strict=True))
    ]
    _write(out, stack([cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]))
    print(told)
    return [row]


def show_class(name: str, out: Path, clips: int = 6) -> Sequence[ClipRow]:
    """Write one row of ten frames, 0.3 s apart at 10 FPS, for each of the first `clips` clips of a class.

    An animation shows the clips side by side, without padding, at their own rate.

    Raises:
        WorkError: no clip in the shards has this class.
        ParamError: `out` is not named as a picture.
    """
    rows = [row for row in manifests.read(ShardRow) if row.class_name == name][:clips]
    if not rows:
        raise WorkError(f"no class is named {name!r}: manifests/classes.parquet lists them")
    settings = params.load()
    told = f"{out}: {len(rows)} clips of {name!r}"
    films = [_from_shard(row, settings.resize.size) for row in rows]
    if out.suffix in animation.SUFFIXES:
        _animate(out, [film[: row.valid_frames] for film, row in zip(films, rows, strict=True)], name, settings)
        print(f"{told}, side by side")
        return rows
    lines: list[list[Picture]] = []
    for frames, row in zip(films, rows, strict=True):
        ticks = np.arange(_COLUMNS) * _STEP % row.valid_frames
        cells = [cell(frames[tick], str(tick)) for tick in ticks]
        lines += [[text([row.clip_id], width=cells[0].shape[1] * _COLUMNS)], cells]
    _write(out, stack(lines))
    print(f"{told}, one per row")
    return rows


def show_failures(code: str, out: Path, clips: int = 12) -> Sequence[ClipRow]:
    """Write one row for each of the first `clips` clips that failed as `code`: its id, the reason, and its first frames.

    Raises:
        ParamError: there is no such code, or `out` is not named as a picture.
        WorkError: no clip failed as `code`.
    """
    if out.suffix in animation.SUFFIXES:
        raise ParamError(f"{out}: failures are shown as a picture: name one that ends in .png or .jpg")
    if code not in set(Failure):
        raise ParamError(f"--failures {code}: must be one of {', '.join(Failure)}")
    tables = funnel.read()
    failed = sorted((row for _, row in funnel.failures(tables) if row.error == code), key=lambda row: row.clip_id)
    if not failed:
        raise WorkError(f"no clip was lost as {code}: `python -m pipeline stats` lists the losses")
    settings = params.load()
    downloaded = {row.clip_id: row for row in tables.download}
    resized = {row.clip_id: row for row in tables.resize if row.status == "ok"}
    lines = []
    for row in failed[:clips]:
        if row.clip_id in resized:
            frames = list(_filmstrip(resized[row.clip_id], settings)[::_STEP][:_FAILED_FRAMES])
        else:
            frames = _first_frames(downloaded[row.clip_id], settings.resize.size)
        lines.append([_description(row), *map(cell, frames)])
    _write(out, stack(lines))
    print(f"{out}: {len(lines)} of {len(failed)} clips lost as {code}, one per row")
    return failed[:clips]


def _find_clip(clip_id: str) -> tuple[ResizeRow, ResampleRow]:
    row, resampled = manifests.find(ResizeRow, clip_id), manifests.find(ResampleRow, clip_id)
    if row is None or resampled is None:
        annotated = manifests.find(DownloadRow, clip_id)
        if annotated is None:
            raise WorkError(f"no clip is named {clip_id!r}: manifests/download.parquet lists them")
        if annotated.status == "failed":
            raise WorkError(f"{clip_id} has no filmstrip: {annotated.error}: {annotated.error_detail}")
        if annotated.status == "spare":
            raise WorkError(f"{clip_id} has no filmstrip: it is spare, its class has enough clips without it")
        raise WorkError(f"{clip_id} has no filmstrip yet: run `dvc repro resize`")
    if row.status != "ok":
        raise WorkError(f"{clip_id} has no filmstrip: {row.error}: {row.error_detail}")
    return row, resampled


def _filmstrip(row: ResizeRow, settings: PipelineParams) -> Picture:
    try:
        return clip_frames.from_filmstrip(row, settings.resize.size, settings.engine.store)
    except ValueError as error:
        raise WorkError(f"{row.path} of clip {row.clip_id} is damaged: {error}") from None


def _from_shard(row: ShardRow, size: int) -> Picture:
    try:
        return clip_frames.from_shard(row, size)
    except ValueError as error:
        raise WorkError(f"the filmstrip of {row.clip_id} in {row.shard} is damaged: {error}") from None


def _first_frames(row: DownloadRow, size: int) -> list[Picture]:
    if row.path is None:
        return []
    return clip_frames.from_video(row.path, size, count=_FAILED_FRAMES, step=_STEP)


def _description(row: ClipRow) -> Picture:
    """The id of a failed clip and the reason, as a picture."""
    return text([row.clip_id, *textwrap.wrap(str(row.error_detail), 70)], width=_PANEL)


def _animate(out: Path, clips: list[Picture], title: str, settings: PipelineParams) -> None:
    data = animation.encode(animation.tile(clips, title), out.suffix, fps=settings.resample.fps)
    sweep_beside(out)
    write_bytes(out, data)


def _write(out: Path, sheet: Picture) -> None:
    try:
        data = contact_sheet.encode(sheet, out.suffix or ".png")
    except ValueError:
        raise ParamError(f"{out}: name a picture that ends in .png, .jpg, .gif or .webp") from None
    sweep_beside(out)
    write_bytes(out, data)
