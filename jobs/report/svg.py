"""Drawings: simple charts as shapes in a coordinate system of their own, which a template writes as inline SVG.

Every drawing says in words what it shows. Colours are classes of the page's style, so that they follow dark, light and
print; what a colour says is also said by a form or by a dash.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jobs.printable import per_cent

WIDTH = 360
"""Of every drawing: a phone's, so that texts keep their size there."""
ROW = 24
"""Height of a row of `rows`."""
LABELS = 110
"""Width of the names at the left of a row."""
EDGE = 12
"""Room at the right of a drawing."""
PLOT = 200
"""Height of a drawing with two axes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One element: its tag, its attributes, the text in it, and what is said of it where one points at it."""

    tag: str
    attributes: Mapping[str, str | float]
    text: str = ""
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend: a form (disc, square, ring, line, dashes, band) in a colour, and its meaning."""

    form: str
    style: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One picture."""

    id: str
    title: str
    description: str
    """What it shows, in words, for those who do not see it."""
    height: float
    shapes: Sequence[Shape]
    legend: Sequence[Key] = ()
    width: float = WIDTH


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to coordinates."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies; what is outside lies at the edge."""
        share = (value - self.low) / (self.high - self.low or 1)
        return place(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start))

    def ticks(self, most: int = 5) -> list[float]:
        """Round values, at most so many and one."""
        span = self.high - self.low or 1
        step = 10.0 ** math.floor(math.log10(span / most))
        step = next(step * times for times in (1, 2, 5, 10) if span / (step * times) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(k * step, 10) for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A value in a row, with what reaches from it to both sides."""

    value: float
    low: float | None = None
    high: float | None = None
    form: str = "disc"
    style: str = "a"
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A name, and its lanes one below the other, each with its marks."""

    label: str
    lanes: Sequence[Sequence[Mark]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line, with a band around it where there is one."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    style: str = "a"
    dashed: bool = False


@dataclass(slots=True)
class Pen:
    """Shapes as they are drawn."""

    shapes: list[Shape] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """A straight line."""
        self.shapes.append(Shape("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": style}))

    def text(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """A text on one line; anchor: "start", "middle" or "end" of it lies at x."""
        self.shapes.append(Shape("text", {"x": x, "y": y, "text-anchor": anchor}, text))

    def mark(self, form: str, x: float, y: float, style: str, tip: str = "") -> None:
        """A disc, a ring or a square."""
        if form == "square":
            corner: dict[str, str | float] = {"x": place(x - 3.5), "y": place(y - 3.5), "width": 7, "height": 7}
            self.shapes.append(Shape("rect", corner | {"class": f"mark {style}"}, tip=tip))
        else:
            hollow = "ring" if form == "ring" else "mark"
            self.shapes.append(Shape("circle", {"cx": x, "cy": y, "r": 4, "class": f"{hollow} {style}"}, tip=tip))

    def path(self, points: Sequence[tuple[float, float]], style: str, *, closed: bool = False) -> None:
        """A line through points."""
        way = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.shapes.append(Shape("polygon" if closed else "polyline", {"points": way, "class": style}))


def place(coordinate: float) -> float:
    """A coordinate as it is written: a tenth is enough."""
    return round(coordinate, 1)


def axis_text(value: float) -> str:
    """A value beside an axis."""
    return f"{value:,g}".replace("-", "\N{MINUS SIGN}")


def across(pen: Pen, x: Scale, top: float, bottom: float, label: str, *, most: int = 5) -> None:
    """An axis below, its lines through the drawing, and what it counts."""
    for tick in x.ticks(most):
        pen.line(x(tick), top, x(tick), bottom, "zero" if tick == 0 else "grid")
        pen.text(x(tick), bottom + 14, axis_text(tick), "middle")
    pen.text(place((x.start + x.end) / 2), bottom + 30, label, "middle")


def rows(
    *,
    id: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    x: tuple[float, float],
    label: str,
    legend: Sequence[Key],
) -> Drawing:
    """One row a name, its marks along one axis.

    x: the ends of the axis; label: what it counts, with its unit.
    """
    pen, scale = Pen(), Scale(*x, LABELS, WIDTH - EDGE)
    bottom = 8 + ROW * len(rows)
    across(pen, scale, 4, bottom, label)
    for number, row in enumerate(rows):
        middle = 8 + ROW * (number + 0.5)
        pen.text(LABELS - 8, middle + 4, row.label, "end")
        step = 9 if len(row.lanes) > 1 else 0
        for lane, marks in enumerate(row.lanes):
            y = place(middle + step * (lane - (len(row.lanes) - 1) / 2))
            for mark in marks:
                if mark.low is not None and mark.high is not None:
                    pen.line(scale(mark.low), y, scale(mark.high), y, f"span {mark.style}")
            for mark in marks:
                pen.mark(mark.form, scale(mark.value), y, mark.style, mark.tip)
    return Drawing(id=id, title=title, description=description, height=bottom + 38, shapes=pen.shapes, legend=legend)


def curves(
    *, id: str, title: str, description: str, curves: Sequence[Curve], label: str, legend: Sequence[Key]
) -> Drawing:
    """Percent along percent.

    label: what the axis below counts.
    """
    pen = Pen()
    x, y = Scale(0, 100, 40, WIDTH - EDGE), Scale(0, 100, PLOT + 8, 8)
    across(pen, x, 8, PLOT + 8, label)
    for tick in y.ticks():
        pen.line(40, y(tick), WIDTH - EDGE, y(tick), "grid")
        pen.text(34, y(tick) + 4, axis_text(tick), "end")
    for curve in curves:
        if len(curve.low):
            edge = [*zip(curve.x, curve.low, strict=True), *reversed([*zip(curve.x, curve.high, strict=True)])]
            pen.path([(x(a), y(b)) for a, b in edge], f"band {curve.style}", closed=True)
    for curve in curves:
        dashes = " dashes" if curve.dashed else ""
        pen.path([(x(a), y(b)) for a, b in zip(curve.x, curve.y, strict=True)], f"curve {curve.style}{dashes}")
    return Drawing(id=id, title=title, description=description, height=PLOT + 46, shapes=pen.shapes, legend=legend)


def histogram(
    *, id: str, title: str, description: str, values: NDArray[np.float64], label: str, counted: str, bins: int = 24
) -> Drawing:
    """How often values lie where.

    values: (n,) finite, one or more; label: what they are; counted: what there are so many of.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    heights, edges = np.histogram(values, bins=bins, range=(low, high))
    pen = Pen()
    x, y = Scale(low, high, 40, WIDTH - EDGE), Scale(0, float(heights.max()), 128, 8)
    across(pen, x, 128, 128, label, most=4)
    for tick in y.ticks(4):
        if tick == int(tick):
            pen.line(40, y(tick), WIDTH - EDGE, y(tick), "grid")
            pen.text(34, y(tick) + 4, axis_text(tick), "end")
    for bar, left, right in zip(heights.tolist(), edges, edges[1:], strict=False):
        if bar:
            box: dict[str, str | float] = {"x": x(left), "y": y(bar), "width": place(x(right) - x(left) - 0.8)}
            tip = f"{axis_text(round(float(left), 3))} to {axis_text(round(float(right), 3))}: {bar} {counted}"
            pen.shapes.append(Shape("rect", box | {"height": place(128 - y(bar)), "class": "bar a"}, tip=tip))
    return Drawing(id=id, title=title, description=description, height=166, shapes=pen.shapes)


def heat(*, id: str, title: str, description: str, names: Sequence[str], shares: NDArray[np.float64]) -> Drawing:
    """A square of shares, the darker the larger.

    names: (v,) of rows and columns; shares: (v, v) in [0, 1]; NaN where there is nothing to say.
    """
    v = len(names)
    side = (WIDTH - LABELS - EDGE) / v
    off = shares[~np.eye(v, dtype=bool)]
    most = float(np.nanmax(off)) if np.isfinite(off).any() else 1.0
    pen = Pen()
    for a in range(v):
        pen.text(LABELS - 8, place(4 + side * (a + 0.5) + 4), names[a], "end")
        for b in range(v):
            box: dict[str, str | float] = {
                "x": place(LABELS + side * b),
                "y": place(4 + side * a),
                "width": place(side - 1),
                "height": place(side - 1),
            }
            if a == b or not math.isfinite(shares[a, b]):
                pen.shapes.append(Shape("rect", box | {"class": "empty"}))
                continue
            shade = round(0.06 + 0.94 * float(shares[a, b]) / (most or 1), 2)
            tip = f"{names[a]} and {names[b]}: {per_cent(shares[a, b], 1)}"
            pen.shapes.append(Shape("rect", box | {"class": "heat a", "fill-opacity": shade}, tip=tip))
    bottom = place(4 + side * v)
    pen.text(LABELS, bottom + 14, f"in the order of the rows; darkest: {per_cent(most, 1)}")
    return Drawing(id=id, title=title, description=description, height=bottom + 22, shapes=pen.shapes)
