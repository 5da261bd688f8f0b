"""Charts with their geometry; plots.html.jinja draws them as SVG. Sizes are in the SVG's own units."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

WIDTH, HEIGHT = 480, 290
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 44
COLOURS = 10  # of lines, after which they repeat
ROW, NAMES = 26, 168  # of interval charts: height of a row, width of the names
_MARKED = 12  # points of a line, up to which each has a mark


@dataclass(frozen=True)
class Point:
    """A value, and half of its 95% interval if it has one."""

    x: float
    y: float
    ci95: float | None = None


@dataclass(frozen=True)
class Line:
    """A named series in order of x."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Guide:
    """A level across the whole chart, such as chance."""

    name: str
    value: float


@dataclass(frozen=True)
class Tick:
    """A place on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A point of a line on the page."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Trace:
    """A line on the page: SVG paths of the line and of its interval, and marks if it has few points."""

    name: str
    colour: int
    path: str
    band: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class LineChart:
    """Lines over one axis.

    Args:
        title: of the chart.
        x: label of the x axis.
        lines: those without points are left out.
        guides: levels to compare with.
        percent: y is a fraction and shown in percent.
        note: shown under the title.
        log_x: the x axis is logarithmic, with a label at the x of every point.
    """

    title: str
    x: str
    lines: Sequence[Line]
    guides: Sequence[Guide] = ()
    percent: bool = False
    note: str = ""
    log_x: bool = False
    _shown: Sequence[Line] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_shown", tuple(line for line in self.lines if line.points))

    @property
    def empty(self) -> bool:
        """Nothing to draw."""
        return not self._shown

    @cached_property
    def x_ticks(self) -> list[Tick]:
        """Labelled places of the x axis."""
        if self.log_x:
            places = sorted({point.x for line in self._shown for point in line.points})
            return [Tick(self._at_x(value), f"{value:,g}") for value in places]
        low, high = _bounds(point.x for line in self._shown for point in line.points)
        steps = _nice_steps(low, high, 6, whole=True)
        return [Tick(self._at_x(value), f"{value:,.0f}") for value in steps if low <= value <= high]

    @cached_property
    def y_ticks(self) -> list[Tick]:
        """Labelled places of the y axis."""
        steps = self._y_steps
        digits = max(0, -math.floor(math.log10((steps[1] - steps[0]) * self._factor) + 1e-9))
        return [Tick(self._at_y(value), f"{value * self._factor:,.{min(digits, 6)}f}") for value in steps]

    @cached_property
    def traces(self) -> list[Trace]:
        """The lines on the page."""
        return [self._trace(number, line) for number, line in enumerate(self._shown)]

    @cached_property
    def levels(self) -> list[tuple[float, Guide]]:
        """The guides, each with its height on the page."""
        return [(self._at_y(guide.value), guide) for guide in self.guides]

    @cached_property
    def stops(self) -> str:
        """For the script: JSON list of [place, text] for each x, in order."""
        found: dict[float, list[str]] = {}
        for line in self._shown:
            for point in line.points:
                found.setdefault(point.x, []).append(f"{line.name} {self._value(point)}")
        return json.dumps([[self._at_x(x), f"{self.x} {x:,g}: {'; '.join(found[x])}"] for x in sorted(found)])

    def _trace(self, number: int, line: Line) -> Trace:
        places = [(self._at_x(point.x), self._at_y(point.y)) for point in line.points]
        spread = [point for point in line.points if point.ci95]
        edge = [(self._at_x(point.x), self._at_y(point.y + (point.ci95 or 0))) for point in spread]
        edge += [(self._at_x(point.x), self._at_y(point.y - (point.ci95 or 0))) for point in reversed(spread)]
        marks = [
            Mark(x, y, f"{line.name}, {self.x} {point.x:,g}: {self._value(point)}")
            for (x, y), point in zip(places, line.points, strict=True)
        ]
        return Trace(
            line.name, number % COLOURS, _path(places), _path(edge), marks if len(marks) <= _MARKED else marks[-1:]
        )

    @property
    def _factor(self) -> int:
        return 100 if self.percent else 1

    def _value(self, point: Point) -> str:
        digits = 1 if self.percent else 4
        unit = "%" if self.percent else ""
        interval = "" if point.ci95 is None else f" ± {point.ci95 * self._factor:,.{digits}f}"
        return f"{point.y * self._factor:,.{digits}f}{interval}{unit}"

    @cached_property
    def _y_steps(self) -> list[float]:
        ends = [(point.y, point.ci95 or 0) for line in self._shown for point in line.points]
        values = [y - ci95 for y, ci95 in ends] + [y + ci95 for y, ci95 in ends]
        low, high = _bounds([*values, *(guide.value for guide in self.guides)])
        return _nice_steps(min(low, 0.0) if self.percent else low, high, 5)

    def _at_x(self, value: float) -> float:
        scale: Callable[[float], float] = math.log if self.log_x else float
        low, high = _bounds(scale(point.x) for line in self._shown for point in line.points)
        return round(LEFT + (scale(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def _at_y(self, value: float) -> float:
        low, high = self._y_steps[0], self._y_steps[-1]
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)


@dataclass(frozen=True)
class Interval:
    """A line of an interval chart; `colour` is the number of a line's colour."""

    name: str
    mean: float
    ci95: float | None = None
    colour: int = 0


@dataclass(frozen=True)
class IntervalChart:
    """Means with 95% intervals below one another, on one axis that starts at zero.

    Args:
        title: of the chart.
        x: label of the axis.
        rows: from top to bottom.
        guides: levels to compare with.
        percent: values are fractions and shown in percent.
    """

    title: str
    x: str
    rows: Sequence[Interval]
    guides: Sequence[Guide] = ()
    percent: bool = False

    @property
    def height(self) -> int:
        """Of the whole drawing."""
        return TOP + ROW * len(self.rows) + BOTTOM

    @property
    def bottom(self) -> int:
        """Place of the axis."""
        return TOP + ROW * len(self.rows)

    @cached_property
    def ticks(self) -> list[Tick]:
        """Labelled places of the axis."""
        factor = 100 if self.percent else 1
        steps = self._steps
        digits = max(0, -math.floor(math.log10((steps[1] - steps[0]) * factor) + 1e-9))
        return [Tick(self.place(value), f"{value * factor:,.{min(digits, 6)}f}") for value in steps]

    @cached_property
    def _steps(self) -> list[float]:
        ends = [row.mean + (row.ci95 or 0) for row in self.rows] + [guide.value for guide in self.guides]
        low = min([0.0, *(row.mean - (row.ci95 or 0) for row in self.rows)])
        return _nice_steps(*_bounds([low, *ends]), 5)

    def place(self, value: float) -> float:
        """Of a value on the axis."""
        low, high = self._steps[0], self._steps[-1]
        return round(NAMES + (value - low) / (high - low) * (WIDTH - NAMES - RIGHT - 8), 1)

    def text(self, row: Interval) -> str:
        """A row's value."""
        digits, factor, unit = (1, 100, "%") if self.percent else (4, 1, "")
        interval = "" if row.ci95 is None else f" ± {row.ci95 * factor:.{digits}f}"
        return f"{row.mean * factor:.{digits}f}{interval}{unit}"


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in places) if places else ""


def _bounds(values: Iterable[float]) -> tuple[float, float]:
    """Lowest and highest value; a little apart where they are equal."""
    found = list(values)
    low, high = min(found), max(found)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    room = abs(low) / 2 or 0.5
    return low - room, high + room


def _nice_steps(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """About `count` round numbers in equal steps, from at most `low` to at least `high`."""
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
