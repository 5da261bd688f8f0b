"""report: write reports/dataset.html, the dataset in one page that needs no network and no server."""

import base64
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from common.files import write_bytes
from common.pages import Bar, BarChart, largest, make_environment, shown_params
from pipeline import params
from pipeline.records import manifests
from pipeline.records.rows import SPLITS, ClassRow, ShardRow, SplitRow
from pipeline.tools import funnel
from pipeline.tools.funnel import Tables
from pipeline.tools.report.figures import histogram, most_common
from pipeline.tools.report.sheets import sheets

OUT = Path("reports/dataset.html")
_PACKAGES = ("av", "opencv-python-headless", "numpy", "pyarrow", "imageio-ffmpeg", "dvc", "yt-dlp")
_LENGTH_EDGES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9.95)  # seconds
_MEASURE_EDGES = {  # lower limits of the bars; those of motion and sharpness double
    "motion": (0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128),
    "sharpness": (0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256),
    "brightness": (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
}
_MEASURE_TITLES = {
    "motion": "Motion: mean difference of consecutive frames",
    "sharpness": "Sharpness: variance of the Laplacian",
    "brightness": "Brightness: mean luma",
}

Cells = tuple[str | int, ...]  # one line of a table; numbers are aligned right


@dataclass(frozen=True)
class ClassEntry:
    """One class, as the page lists it."""

    class_id: int
    name: str
    source: str
    split: str
    clips: int
    sheet: str | None  # JPEG in base64


def main() -> None:
    """Read the manifests and the shards, write the page.

    Raises:
        WorkError: a manifest is missing.
    """
    settings = params.load()
    tables = funnel.read()
    shards = manifests.read(ShardRow)
    classes = _class_entries(shards, settings.resize.size)
    template = make_environment(Path(__file__).parent).get_template("dataset.html.jinja")
    page = template.render(
        settings=settings,
        clips=len(shards),
        classes=classes,
        classes_by_source=Counter(entry.source for entry in classes),
        splits=_split_cells(classes, shards),
        steps=funnel.STEPS,
        funnel=[(source, *counts) for source, counts in funnel.count_steps(tables).items()],
        losses=_loss_cells(tables),
        others=[(other.source, other.kind, other.files, other.example) for other in funnel.other_files(tables)],
        largest=_largest_classes(classes),
        measures=_measures(tables, {row.clip_id for row in shards}, settings.resample.fps),
        versions=[("Python", platform.python_version()), *((name, version(name)) for name in _PACKAGES)],
        params_yaml=shown_params(),
    )
    data = page.encode()
    write_bytes(OUT, data)
    print(f"{OUT}: {len(data) / 1e6:.1f} MB, {len(classes):,} classes, {len(shards):,} clips")


def _class_entries(shards: Sequence[ShardRow], size: int) -> list[ClassEntry]:
    pictures = dict(sheets(shards, size))
    sources = {row.class_id: row.source for row in manifests.read(ClassRow)}
    return [
        ClassEntry(
            class_id=row.class_id,
            name=row.class_name,
            source=sources[row.class_id],
            split=row.split,
            clips=row.clips,
            sheet=base64.b64encode(pictures[row.class_id]).decode() if row.class_id in pictures else None,
        )
        for row in manifests.read(SplitRow)
    ]


def _split_cells(classes: Iterable[ClassEntry], shards: Iterable[ShardRow]) -> list[Cells]:
    counts = Counter(entry.split for entry in classes)
    clips: Counter[str] = Counter(row.split for row in shards)
    return [(split, counts[split], clips[split]) for split in (*SPLITS, "unused") if counts[split]]


def _loss_cells(tables: Tables) -> list[Cells]:
    urls = {row.clip_id: row.url or "" for row in tables.download}
    cells: list[Cells] = []
    for loss in funnel.losses(tables):
        clip_id = loss.example.clip_id
        example, file = f"{clip_id}: {loss.example.error_detail}", urls[clip_id].rsplit("/", 1)[-1]
        cells.append((loss.stage, loss.source, loss.error, loss.clips, example, file))
    return cells


def _largest_classes(classes: Sequence[ClassEntry]) -> list[BarChart]:
    """One chart per split."""
    members = {split: [Bar(entry.name, entry.clips) for entry in classes if entry.split == split] for split in SPLITS}
    return [largest(split, bars) for split, bars in members.items() if bars]


def _measures(tables: Tables, used: set[str], fps: int) -> list[BarChart]:
    """Charts of the clips in the shards: of their source videos, and of their frames."""
    lengths = [row.duration_s for row in tables.trim if row.clip_id in used]
    sources = [row for row in tables.resample if row.clip_id in used]
    sizes = most_common((f"{row.width}x{row.height}" for row in sources), 12, "other sizes")
    rates = most_common((f"{row.avg_fps:.4g}" for row in sources), 8)
    films = [row for row in tables.resize if row.clip_id in used]
    return [
        BarChart("Clip length in its source", histogram(lengths, _LENGTH_EDGES, "s")),
        BarChart("Source resolution, pixels", sizes),
        BarChart(f"Source frames a second (resampled to {fps})", rates),
        *(
            BarChart(title, histogram((getattr(row, name) for row in films), _MEASURE_EDGES[name], ""))
            for name, title in _MEASURE_TITLES.items()
        ),
    ]
