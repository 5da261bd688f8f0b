"""report: the dataset in one page, reports/dataset.html, that needs no network and no server."""

import base64
import html
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.files import write_bytes
from common.params import PARAMS
from pipeline import params
from pipeline.records import manifests
from pipeline.records.manifests import SIDES, Row
from pipeline.tools import funnel
from pipeline.tools.report.figures import bars, histogram
from pipeline.tools.report.sheets import sheets

OUT = Path("reports/dataset.html")
_HERE = Path(__file__).parent
_PACKAGES = ("av", "opencv-python-headless", "numpy", "pyarrow", "imageio-ffmpeg", "dvc", "yt-dlp")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_TOP = 20


def main() -> None:
    """Read the manifests and the shards, write the page.

    Raises:
        WorkError: a manifest is missing; `dvc repro verify` makes them all.
    """
    settings = params.load()
    tables = funnel.read()
    shards = manifests.read("shards")
    sources = {row["class_id"]: row["source"] for row in manifests.read("classes")}
    splits = [row | {"source": sources[row["class_id"]]} for row in manifests.read("splits")]
    pictures = dict(sheets(shards, settings.resize.size))
    used = {row["clip_id"] for row in shards}
    parts = [
        _head(),
        _overview(shards, splits, settings),
        _funnel(tables),
        _losses(tables),
        _top(splits),
        _lengths_and_sizes(used, settings.resample.fps),
        _classes(splits, pictures),
        _origin(),
        f"<script>{(_HERE / 'script.js').read_text(encoding='utf-8')}</script></main></body></html>",
    ]
    page = "\n".join(parts).encode()
    write_bytes(OUT, page)
    print(f"{OUT}: {len(page) / 1e6:.1f} MB, {len(splits):,} classes, {len(shards):,} clips")


def _head() -> str:
    sections = ("overview", "funnel", "losses", "figure", "sizes", "table", "origin")
    names = ("Overview", "Funnel", "Losses", "Largest classes", "Lengths and sizes", "Classes", "Params and versions")
    links = "".join(f"<a href='#{id_}'>{name}</a>" for id_, name in zip(sections, names, strict=True))
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Dataset report</title>"
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<style>{(_HERE / 'style.css').read_text(encoding='utf-8')}</style></head><body>"
        f"<a class=skip href='#table'>Skip to the classes</a><nav aria-label=Sections>{links}</nav><main>"
    )


def _overview(shards: Sequence[Row], splits: Sequence[Row], settings: params.PipelineParams) -> str:
    size, rule = settings.resize.size, settings.merge.class_rule
    shape = f"{settings.resample.frames} frames at {settings.resample.fps} FPS, {size}x{size}"
    clips = Counter(row["split"] for row in shards)
    rows = [
        [side, f"{sum(row['split'] == side for row in splits):,}", f"{clips[side]:,}"]
        for side in (*SIDES, "unused")
        if any(row["split"] == side for row in splits)
    ]
    by_source = Counter(row["source"] for row in splits)
    made_of = " + ".join(f"{count:,} {source}" for source, count in by_source.items())
    text = (
        f"<p>{len(shards):,} clips of {len(splits):,} classes ({made_of}); {shape}. "
        f"Classes by rule <code>{rule}</code>, split by <code>{settings.split.by}</code> with seed {settings.split.seed}. "
        "No class is in two splits.</p>"
    )
    return f"<h1 id=overview>Dataset report</h1>{text}{_table(['split', 'classes', 'clips'], rows, numbers={1, 2})}"


def _funnel(tables: funnel.Tables) -> str:
    steps = funnel.steps(tables)
    rows = [[source, *(f"{count:,}" for count in counts)] for source, counts in steps.items()]
    if len(rows) > 1:
        rows.append(["all", *(f"{sum(column):,}" for column in zip(*steps.values(), strict=True))])
    table = _table(["source", *funnel.STEPS], rows, numbers=set(range(1, len(funnel.STEPS) + 1)))
    return f"<h2 id=funnel>From annotation to shard</h2>{table}"


def _losses(tables: funnel.Tables) -> str:
    origin = {row["clip_id"]: row["url"] or "" for row in tables["download"]}
    rows = []
    for loss in funnel.losses(tables):
        clip_id = loss.example["clip_id"]
        what = f"{clip_id}: {loss.example['error_detail']}"
        rows.append([loss.stage, loss.source, loss.error, f"{loss.clips:,}", what, origin[clip_id].rsplit("/", 1)[-1]])
    if not rows:
        return "<h2 id=losses>Losses by reason</h2><p>None.</p>"
    head = ["stage", "source", "reason", "clips", "an example", "its file"]
    note = "Every lost clip, with its reason, is in <code>manifests/clips.parquet</code> and the manifests before it."
    return f"<h2 id=losses>Losses by reason</h2><p>{note}</p>{_table(head, rows, numbers={3})}"


def _top(splits: Sequence[Row]) -> str:
    figures = []
    for side in SIDES:
        inside = [row for row in splits if row["split"] == side]
        ranked = sorted(inside, key=lambda row: (-row["clips"], row["class_name"]))[:_TOP]
        if inside:
            values = [(row["class_name"], row["clips"]) for row in ranked]
            title = f"{side}: the {len(values)} classes with most clips, of {len(inside):,}"
            figures.append(bars(values, title, side))
    return f"<h2 id=figure>Largest classes</h2><div class=pair>{''.join(figures)}</div>"


def _lengths_and_sizes(used: set[str], fps: int) -> str:
    lengths = [row["duration_s"] for row in manifests.read("trim") if row["clip_id"] in used]
    sources = [row for row in manifests.read("resample") if row["clip_id"] in used]
    sizes = Counter(f"{row['width']}x{row['height']}" for row in sources)
    common = sizes.most_common(12)
    others = len(sources) - sum(count for _, count in common)
    if others:
        common.append((f"{len(sizes) - len(common):,} other sizes", others))
    rates = Counter(f"{row['avg_fps']:.4g}" for row in sources)
    figures = [
        bars(histogram(lengths, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9.95], "s"), "Clip length in its source"),
        bars(common, "Source resolution, pixels"),
        bars(rates.most_common(8), f"Source frames a second (resampled to {fps})"),
    ]
    return f"<h2 id=sizes>Lengths and sizes</h2><div class=pair>{''.join(figures)}</div>"


def _classes(splits: Sequence[Row], pictures: Mapping[int, bytes]) -> str:
    body = []
    for row in sorted(splits, key=lambda row: row["class_id"]):
        name, side = html.escape(row["class_name"]), html.escape(row["split"])
        text = html.escape(f"{row['class_name']} {row['source']}".lower(), quote=True)
        body.append(
            f'<tr data-text="{text}" data-side="{side}"><td class="n id">{row["class_id"]}</td><td class=name>{name}</td>'
            f"<td>{html.escape(row['source'])}</td><td><span class='side {side}'>{side}</span></td>"
            f"<td class='n clips' data-value={row['clips']}>{row['clips']:,}</td>"
            f"<td class=look>{_sheet(row['class_name'], pictures.get(row['class_id']))}</td></tr>"
        )
    head = "".join(
        f"<th{' class=n' if name in ('id', 'clips') else ''}><button type=button>{name}</button></th>"
        for name in ("id", "class", "source", "split", "clips")
    )
    sides = "".join(f"<option>{side}</option>" for side in dict.fromkeys(row["split"] for row in splits))
    return (
        "<h2 id=table>Classes</h2><p class=soft>Five frames of one clip a line; press a picture to see more of it.</p>"
        "<div class=tools><input id=search type=search placeholder='Search classes ( / )' aria-label='Search classes'>"
        f"<select id=side aria-label=Split><option value=''>all splits</option>{sides}</select>"
        "<span id=shown class=soft role=status></span></div>"
        f"<table id=classes><thead><tr>{head}<th>clips of it</th></tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _sheet(name: str, picture: bytes | None) -> str:
    if picture is None:
        return "<span class=soft>no picture</span>"
    label = html.escape(f"clips of {name}", quote=True)
    data = base64.b64encode(picture).decode()
    return (
        '<button type=button class=sheet aria-expanded=false aria-label="'
        f'{label}"><img loading=lazy decoding=async alt="" src="data:image/jpeg;base64,{data}"></button>'
    )


def _origin() -> str:
    versions = [["Python", platform.python_version()]]
    versions += [[name, importlib.metadata.version(name)] for name in _PACKAGES]
    text = html.escape(PARAMS.read_text(encoding="utf-8"))
    return (
        f"<h2 id=origin>Params and versions</h2>{_table(['package', 'version'], versions)}"
        f"<details><summary>params.yaml</summary><pre>{text}</pre></details>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: set[int] | None = None) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [" class=n" if place in (numbers or ()) else "" for place in range(len(cells))]
        return "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
