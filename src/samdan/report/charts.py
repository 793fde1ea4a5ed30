"""Drawings as inline SVG: curves, intervals and token bars. Numbers in, markup out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from samdan.report.markup import Html, join, tag, text
from samdan.report.numbers import fixed, places
from samdan.report.words import WORDS

MOST_POINTS, FEW_POINTS = 400, 20
WIDTH, HEIGHT = 380, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 24

Point = tuple[float, float]
Series = Sequence[tuple[float, float | None]]  # None where the value was not finite


@dataclass(frozen=True, slots=True)
class Frame:
    """The plotting area and what its edges mean."""

    x0: float
    x1: float
    y0: float
    y1: float
    height: int = HEIGHT

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x0) / ((self.x1 - self.x0) or 1.0)

    def y(self, value: float) -> float:
        share = (value - self.y0) / ((self.y1 - self.y0) or 1.0)
        return TOP + (self.height - TOP - BOTTOM) * (1 - share)


def finite(series: Series) -> list[Point]:
    return [(x, y) for x, y in series if y is not None]


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most ``most`` points: the first, the last, and the extremes of equal slices between."""
    if len(points) <= most:
        return list(points)
    inner = points[1:-1]
    slices = (most - 2) // 2
    kept = [points[0]]
    for index in range(slices):
        part = inner[index * len(inner) // slices : (index + 1) * len(inner) // slices]
        kept.extend(sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}))
    return [*kept, points[-1]]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """A centred mean over a fortieth of the curve, at least three points: no lag.

    Too short a curve stays as it is.
    """
    if len(points) < FEW_POINTS:
        return list(points)
    reach = reach_of(len(points))
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    result = []
    for index, (x, _) in enumerate(points):
        low, high = max(0, index - reach), min(len(points), index + reach + 1)
        result.append((x, (sums[high] - sums[low]) / (high - low)))
    return result


def reach_of(count: int) -> int:
    """How many points on each side a mean of ``smoothed`` takes in."""
    return max(1, count // 80)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two bounds."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    unit = 10.0 ** math.floor(math.log10(span / count))
    step = next(unit * m for m in (1, 2, 5, 10) if span / (unit * m) <= count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def curve(
    title: str,
    series: Series,
    rate: Series = (),
    smooth: bool = True,
    height: int = HEIGHT,
    mean: Series = (),
) -> Html:
    """A curve over steps; ``rate`` is drawn faintly behind it, on a scale of its own.

    ``mean``: the smoothed curve, where ``series`` holds only the extremes of a longer one.
    """
    points = finite(series)
    frame = _frame(series, points, height)
    line = finite(mean) or (smoothed(points) if smooth else points)
    drawn = [
        _grid(frame),
        _path(frame, series, thinned(points), "raw") if smooth else Html(""),
        _rate(frame, rate),
        _path(frame, series, thinned(line), "smooth"),
        _marks(frame, series),
    ]
    return tag(
        "svg",
        tag("title", text(title)),
        tag("desc", text(_described(points, len(series) - len(points)))),
        *drawn,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
    )


def interval(
    title: str, low: float | None, value: float | None, high: float | None, reach: float, cls: str
) -> Html:
    """A dot with whiskers on a scale from ``-reach`` to ``reach``, zero marked; right is better."""

    def x(position: float) -> float:
        return round(100 + 94 * max(-1.0, min(1.0, position / reach if reach else 0.0)), 1)

    drawn = [
        tag("path", d="M6 13H194", cls="grid"),
        tag("path", d="M100 2V24", cls="axis"),
    ]
    if low is not None and high is not None:
        ends = f"M{x(low)} 8V18M{x(high)} 8V18M{x(low)} 13H{x(high)}"
        drawn.append(tag("path", d=ends, cls="whisker"))
    if value is not None:
        drawn.append(tag("circle", cx=x(value), cy=13, r=4, cls="dot"))
    return tag("svg", tag("title", text(title)), *drawn, viewBox="0 0 200 26", role="img", cls=cls)


def bars(
    title: str, rows: Iterable[Sequence[tuple[str, float]]], longest: float, height: int = 24
) -> Html:
    """Stacked bars under each other on one scale; a part is its CSS class and its size."""
    drawn = []
    for index, row in enumerate(rows):
        at = 0.0
        for cls, size in row:
            width = 400 * max(size, 0.0) / longest if longest else 0.0
            top = 1 + 12 * index
            box = f"M{at:.1f} {top}h{width:.1f}v10h{-width:.1f}z"
            drawn.append(tag("path", d=box, cls=cls))
            at += width
    return tag(
        "svg",
        tag("title", text(title)),
        *drawn,
        viewBox=f"0 0 400 {height}",
        preserveAspectRatio="none",
        role="img",
    )


def _frame(series: Series, points: Sequence[Point], height: int) -> Frame:
    xs = [x for x, _ in series] or [0.0]
    ys = [y for _, y in points] or [0.0]
    low, high = min(ys), max(ys)
    pad = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return Frame(min(xs), max(xs), low - pad, high + pad, height)


def _grid(frame: Frame) -> Html:
    parts = []
    marks = ticks(frame.y0, frame.y1)
    decimals = _decimals(marks)
    for value in marks:
        y = f"{frame.y(value):.1f}"
        parts.append(tag("path", d=f"M{LEFT} {y}H{WIDTH - RIGHT}", cls="grid"))
        label = text(_short(value, decimals))
        parts.append(tag("text", label, x=LEFT - 6, y=y, dy=".35em", text_anchor="end"))
    steps = [value for value in ticks(frame.x0, frame.x1) if value == int(value)]
    for value in steps:
        label = text(_short(value, 0))
        x = frame.x(value)
        anchor = "end" if x > WIDTH - 2 * RIGHT else "middle"
        x = min(x, WIDTH - 1)
        parts.append(tag("text", label, x=f"{x:.1f}", y=frame.height - 6, text_anchor=anchor))
    for word, cls in zip(WORDS["step"], "ek", strict=True):
        parts.append(tag("text", text(word), x=1, y=frame.height - 6, cls=cls))
    return join(parts)


def _decimals(marks: Sequence[float]) -> int:
    gap = marks[1] - marks[0] if len(marks) > 1 else abs(marks[0])
    return min(max(0, -math.floor(math.log10(gap) + 1e-9)), 8) if gap else 0


def _short(value: float, decimals: int) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (10 if unit == "k" else 1):
            return f"{value / size:g}{unit}"
    return f"{value:,.{decimals}f}" if decimals < 6 or not value else f"{value:.1e}"


def _path(frame: Frame, series: Series, points: Sequence[Point], cls: str) -> Html:
    """A line through the points, broken where a value in between was not finite."""
    holes = [x for x, y in series if y is None]
    moves, hole, before = [], 0, None
    for x, y in points:
        broken = before is None
        while hole < len(holes) and holes[hole] < x:
            broken = broken or (before is not None and holes[hole] > before)
            hole += 1
        at = f"{frame.x(x):.1f} {frame.y(y):.1f}"
        moves.append(f"M{at}h0L{at}" if broken else f"L{at}")
        before = x
    return tag("path", d="".join(moves), cls=cls) if moves else Html("")


def _rate(frame: Frame, rate: Series) -> Html:
    points = finite(rate)
    peak = max((y for _, y in points), default=0.0)
    if peak <= 0:
        return Html("")
    scale = Frame(frame.x0, frame.x1, 0.0, peak * 1.06, frame.height)
    return _path(scale, rate, thinned(points, 120), "rate")


def _marks(frame: Frame, series: Series) -> Html:
    """A cross at the upper edge for every value that was not finite, one per place on the axis."""
    places_on_axis = sorted({round(frame.x(x)) for x, y in series if y is None})
    d = "".join(f"M{x - 4} {TOP - 8}l8 8m0 -8l-8 8" for x in places_on_axis)
    return tag("path", d=d, cls="nan") if d else Html("")


def _described(points: Sequence[Point], holes: int) -> str:
    if not points:
        return f"no finite value, {holes} non-finite"
    ys = [y for _, y in points]
    decimals = places(ys)
    first, last, low, high = (fixed(y, decimals) for y in (ys[0], ys[-1], min(ys), max(ys)))
    rest = f", {holes} non-finite values" if holes else ""
    return f"{len(points)} points: first {first}, last {last}, lowest {low}, highest {high}{rest}"
