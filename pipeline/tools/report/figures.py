"""Bars, as SVG that needs no script and follows the page's colours."""

import html
import itertools
from collections.abc import Sequence

_ROW, _LABEL, _WIDTH, _LETTERS = 20, 190, 560, 26


def bars(values: Sequence[tuple[str, int]], title: str, kind: str = "train") -> str:
    """A figure with one line a value: its name, a bar, its number."""
    if not values:
        return f"<p class=soft>{html.escape(title)}: nothing to show.</p>"
    largest = max(value for _, value in values) or 1
    room = _WIDTH - _LABEL - 60
    lines = []
    for number, (name, value) in enumerate(values):
        top, length = number * _ROW, max(1.0, room * value / largest)
        short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
        lines.append(
            f"<g><title>{html.escape(name)}: {value:,}</title>"
            f"<text x={_LABEL - 8} y={top + 14} text-anchor=end>{html.escape(short)}</text>"
            f"<rect class='bar {kind}' x={_LABEL} y={top + 3} width={length:.1f} height={_ROW - 6} rx=2 />"
            f"<text class=soft x={_LABEL + length + 6:.1f} y={top + 14}>{value:,}</text></g>"
        )
    box, label = f"0 0 {_WIDTH} {_ROW * len(values)}", html.escape(title, quote=True)
    svg = f"<svg viewBox='{box}' role=img aria-label='{label}'>{''.join(lines)}</svg>"
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{svg}</figure>"


def histogram(values: Sequence[float], edges: Sequence[float], unit: str) -> list[tuple[str, int]]:
    """How many values lie in each interval [edge, next edge); the last one takes all that is above."""
    counts = [0] * len(edges)
    for value in values:
        place = max((n for n, edge in enumerate(edges) if value >= edge), default=0)
        counts[place] += 1
    names = [f"{low:g} to {high:g} {unit}" for low, high in itertools.pairwise(edges)]
    return list(zip([*names, f"{edges[-1]:g} {unit} and more"], counts, strict=True))
