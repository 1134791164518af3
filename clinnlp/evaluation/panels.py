"""Tables and charts of a report page: plain values that the template draws, no markup."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 560, 340  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 42  # room for axes
LONG = 24  # characters of a cell that is read as text


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio from 0 to 1 drawn as a bar with its interval; None is printed as a dash."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def drawn(self) -> bool:
        return self.value is not None and not math.isnan(self.value)

    @property
    def figure(self) -> str:
        """The value in percent."""
        return "-" if self.value is None or math.isnan(self.value) else f"{100 * self.value:.1f}"

    @property
    def reach(self) -> str:
        """The interval in percent, empty without one."""
        if not self.drawn or self.low is None or self.high is None:
            return ""
        return f"({100 * self.low:.1f} to {100 * self.high:.1f})"

    @property
    def text(self) -> str:
        return f"{self.figure} {self.reach}".rstrip()


@dataclass(frozen=True, slots=True)
class Heat:
    """A count shaded by its share of the row, 0 to 1."""

    text: str
    share: float


Cell = str | Bar | Heat


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with a row of cells each; the first cell names the row. `wide` columns are left out on a phone."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    wide: frozenset[int] = frozenset()

    @property
    def styles(self) -> tuple[str, ...]:
        """How each column is drawn: bars (`plain` without intervals) and long texts stand to the left."""
        return tuple(_style(cells) + (" wide" if n in self.wide else "") for n, cells in enumerate(self._by_column()))

    def _by_column(self) -> list[list[Cell]]:
        return [[row[number] for row in self.rows] for number in range(len(self.columns))]


def _style(cells: Sequence[Cell]) -> str:
    bars = [cell for cell in cells if isinstance(cell, Bar)]
    if bars:
        return "bar left" if any(bar.reach for bar in bars) else "bar left plain"
    return "left" if any(isinstance(cell, str) and len(cell) > LONG for cell in cells) else ""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line, with an interval of y and a caption that is shown on hover."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Points under a name, joined in order if `joined`; without `marks` the line alone is drawn."""

    name: str
    points: tuple[Point, ...]
    marks: bool = True
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """A range with labeled ticks; `log` spaces x by its logarithm."""

    name: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies on the axis, 0 to 1."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return min(max((at - low) / (high - low), 0.0), 1.0) if high > low else 0.5


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over two axes; `diagonal` draws where y equals x. Every figure stands in a table too."""

    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    diagonal: bool = False

    def at(self, point: tuple[float, float]) -> tuple[float, float]:
        """The place of (x, y) in the drawing."""
        across = LEFT + self.x.place(point[0]) * (WIDTH - LEFT - RIGHT)
        down = TOP + (1 - self.y.place(point[1])) * (HEIGHT - TOP - BOTTOM)
        return round(across, 1), round(down, 1)

    def path(self, line: Line) -> str:
        """The line as the points of an SVG polyline."""
        return " ".join("{},{}".format(*self.at((point.x, point.y))) for point in line.points)

    @property
    def frame(self) -> dict[str, int]:
        return {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP,
                "bottom": HEIGHT - BOTTOM}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Panel:
    """One section of the page: a title, sentences, tables and charts."""

    title: str
    facts: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()


def percent_axis(name: str, low: float = 0.0, high: float = 1.0) -> Axis:
    """An axis of ratios with five ticks, in percent."""
    ticks = tuple((low + (high - low) * i / 4, f"{100 * (low + (high - low) * i / 4):.0f}") for i in range(5))
    return Axis(name, low, high, ticks)


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], columns: Sequence[str]) -> Table:
    """A confusion matrix: gold in rows, predicted in columns, shaded by the share of the row."""
    rows: list[tuple[Cell, ...]] = []
    for label, row in zip(labels, counts, strict=True):
        total = sum(row)
        rows.append((label, *(Heat(f"{n:,}" if n else "", n / total if total else 0.0) for n in row)))
    return Table(("gold \\ predicted", *columns), tuple(rows))


def facts_table(values: Mapping[str, str]) -> Table:
    """Names and values, one row each."""
    return Table(("", ""), tuple((name, value) for name, value in values.items()))
