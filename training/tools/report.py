"""report: the paper's tables beside ours, in one self-contained page."""

import base64
import html
import json
from pathlib import Path
from typing import Any

from common.errors import WorkError
from common.files import write_bytes
from training.engine.loop import METRICS, PLOTS

OUT = Path("reports/results.html")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #8884;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}:root{color-scheme:light dark}"
)


def main() -> None:
    """Read metrics/*.json, write reports/results.html; what has not been run is said to be missing."""
    found = {name: _read(METRICS / f"{name}.json") for name in ("dataset", "stage1", "stage2", "evaluate")}
    if not any(found.values()):
        raise WorkError("metrics/ is empty: run `make evaluate` first")
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Results</title><style>{_STYLE}</style>"]
    parts.append("<meta name=viewport content='width=device-width'><h1>Results</h1>")
    parts += [_few_shot(found["evaluate"]), _stage1(found["stage1"]), _stage2(found["stage2"])]
    write_bytes(OUT, "\n".join(parts).encode())
    print(f"{OUT}: written")


def _few_shot(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "<h2>Few-shot accuracy</h2><p>Not run: <code>make evaluate</code>.</p>"
    methods = {name: value for name, value in metrics.items() if isinstance(value, dict)}
    instances = next(iter(methods.values()))["instance_accuracy"]
    rows = [
        [
            name,
            *(f"{100 * value['instance_accuracy'][k]:.1f} ± {100 * value['instance_ci95'][k]:.1f}" for k in instances),
        ]
        for name, value in methods.items()
    ]
    table = _table(["k-th instance", *instances], rows)
    return f"<h2>Stage 3: few-shot accuracy on {metrics['classes']} held-out classes, 5-way, %</h2>{table}"


def _stage1(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "<h2>Stage 1</h2><p>Not run: <code>make train-stage1</code>.</p>"
    rows = [
        [
            name,
            f"{value['mse_standardised']:.4f} ± {value['mse_standardised_ci95']:.4f}",
            f"{value['bce_pixels']:.4f} ± {value['bce_pixels_ci95']:.4f}",
        ]
        for name, value in metrics.items()
    ]
    rows += [["paper, fine-tuned", "0.1776 (unit not stated)", ""], ["paper, baseline", "0.1781 (unit not stated)", ""]]
    figure = PLOTS / "stage1_reconstruction.png"
    picture = ""
    if figure.exists():
        data = base64.b64encode(figure.read_bytes()).decode()
        source = f"data:image/png;base64,{data}"
        picture = f"<p>Truth, what the encoder sees, reconstruction:</p><img alt='reconstructions' src='{source}'>"
    return f"<h2>Stage 1: reconstruction</h2>{_table(['', 'MSE, standardised', 'BCE, pixels'], rows)}{picture}"


def _stage2(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "<h2>Stage 2</h2><p>Not run: <code>make train-stage2</code>.</p>"
    rows = [
        [
            name,
            f"{100 * metrics[name]['top1']:.1f} ± {100 * metrics[name]['top1_ci95']:.1f}",
            f"{100 * metrics[name]['top5']:.1f}",
        ]
        for name in ("unmasked", "masked")
    ]
    rows += [
        ["paper, SPT, unmasked", "46.8", ""],
        ["paper, head, unmasked", "", "74.5"],
        ["paper, head, masked", "", "76"],
    ]
    return f"<h2>Stage 2: TinyVIRAT, first label, %</h2>{_table(['', 'top-1', 'top-5'], rows)}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(header, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return found
