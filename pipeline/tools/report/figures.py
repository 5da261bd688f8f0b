"""Counts as bars; macros.html.jinja of common.pages draws them."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from common.pages import Bar


def histogram(values: Iterable[float], edges: Sequence[float], unit: str) -> list[Bar]:
    """The number of values in each interval [edge, next edge); the last one is open.

    Args:
        edges: ascending; the first is not above any value.
    """
    places = Counter(sum(edge <= value for edge in edges) - 1 for value in values)
    unit = f" {unit}" if unit else ""
    labels = [f"{low:g} to {high:g}{unit}" for low, high in itertools.pairwise(edges)]
    labels.append(f"{edges[-1]:g}{unit} and more")
    return [Bar(label, places[place]) for place, label in enumerate(labels)]


def most_common(labels: Iterable[str], count: int, others: str | None = None) -> list[Bar]:
    """A bar for each of the `count` most frequent labels.

    Args:
        others: text for one more bar, which sums up the other labels: `other sizes` gives `32 other sizes`.
    """
    counts = Counter(labels)
    bars = [Bar(label, number) for label, number in counts.most_common(count)]
    rest = counts.total() - sum(bar.value for bar in bars)
    if others is not None and rest:
        bars.append(Bar(f"{len(counts) - len(bars):,} {others}", rest))
    return bars
