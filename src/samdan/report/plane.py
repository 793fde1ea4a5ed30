"""Helpful and harmless as two axes: one dot per model, for every task that measures refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from samdan.report.markup import NOTHING, Html, bdi, join, tag, text
from samdan.report.numbers import mapping, number
from samdan.report.overview import hue
from samdan.report.reading import BASE, Report, Stage, pair, stages
from samdan.report.words import say, spoken

BENIGN, UNSAFE = "/benign", "/unsafe"
SIZE, LEFT, TOP, BOTTOM = 200, 46, 12, 36
WIDE, LINE = 60, 11  # of a name
WIDTH = LEFT + SIZE + 90  # room for names on the right


@dataclass(frozen=True, slots=True)
class Model:
    """A model: shares of harmless requests answered and of unsafe ones refused, with intervals."""

    name: str
    hue: str
    helpful: float
    harmless: float
    helpful_ci: tuple[float | None, float | None] = (None, None)
    harmless_ci: tuple[float | None, float | None] = (None, None)


def planes(report: Report) -> Html:
    """A figure for every task that has both sides; nothing without one."""
    found: dict[str, list[Model]] = {}
    for stage in stages(report):
        metrics = mapping(stage.get("metrics"))
        for metric in metrics:
            name = str(metric).removesuffix(BENIGN)
            if name != metric and name + UNSAFE in metrics:
                models = found.setdefault(name, [])
                models += _models(stage, name, metrics, with_base=not models)
    figures = [_figure(name, models) for name, models in found.items() if models]
    return tag("div", *figures, cls="charts") if figures else NOTHING


def _models(
    stage: Stage, name: str, metrics: Mapping[str, Any], with_base: bool
) -> Iterator[Model]:
    benign, unsafe = mapping(metrics[name + BENIGN]), mapping(metrics[name + UNSAFE])
    for key, title, color in (("base", BASE, "other"), ("after", stage.get("name"), hue(stage))):
        refused, right = number(benign.get(key)), number(unsafe.get(key))
        if refused is None or right is None or (key == "base" and not with_base):
            continue
        if key == "base":
            yield Model(str(title), color, 1 - refused, right)
            continue
        low, high = pair(mapping(benign.get("ci95")).get("after"))
        helpful = (None if high is None else 1 - high, None if low is None else 1 - low)
        harmless = pair(mapping(unsafe.get("ci95")).get("after"))
        yield Model(str(title), color, 1 - refused, right, helpful, harmless)


def _figure(name: str, models: list[Model]) -> Html:
    label = f"{name}: {spoken('plane.helpful')}, {spoken('plane.harmless')}"
    svg = tag(
        "svg",
        tag("title", text(label)),
        tag("desc", text("; ".join(map(_described, models)))),
        _axes(),
        *map(_dot, models),
        *_labels(models),
        viewBox=f"0 0 {WIDTH} {TOP + SIZE + BOTTOM}",
        role="img",
    )
    listed = (
        tag("span", bdi(one.name), text(f" {_shares(one)}"), cls=f"{one.hue} kind")
        for one in models
    )
    caption = tag("figcaption", *listed, tag("span", say("plane.how")))
    heading = tag("p", tag("bdi", text(name), cls="kind"), text(" "), say("plane"), cls="title")
    return tag("figure", heading, svg, caption, cls="card other")


def _axes() -> Html:
    marks = []
    for percent in (0, 25, 50, 75, 100):
        x, y = _x(percent / 100), _y(percent / 100)
        cls = "axis" if percent == 0 else "grid"
        marks.append(tag("path", d=f"M{LEFT} {y}h{SIZE}M{x} {TOP}v{SIZE}", cls=cls))
        marks.append(tag("text", text(percent), x=LEFT - 6, y=y, dy=".35em", text_anchor="end"))
        marks.append(tag("text", text(percent), x=x, y=TOP + SIZE + 14, text_anchor="middle"))
    for key, x, y in (("plane.helpful", LEFT, TOP + SIZE + 30), ("plane.harmless", LEFT + 4, 9)):
        marks.append(_words(key, x, y))
    return join(marks)


def _words(key: str, x: int, y: int) -> Html:
    """Both languages as text of the drawing, of which the page shows one."""
    english, _, korean = spoken(key).partition(" / ")
    return join(
        tag("text", text(said), x=x, y=y, cls=cls)
        for said, cls in ((english, "e"), (korean, "k"))
    )


def _dot(model: Model) -> Html:
    x, y = _x(model.helpful), _y(model.harmless)
    lines = []
    left, right = model.helpful_ci
    if left is not None and right is not None:
        lines.append(f"M{_x(left)} {y}H{_x(right)}")
    low, high = model.harmless_ci
    if low is not None and high is not None:
        lines.append(f"M{x} {_y(low)}V{_y(high)}")
    whisker = tag("path", d="".join(lines), cls="whisker") if lines else NOTHING
    dot = tag("circle", cx=x, cy=y, r=4, cls="dot")
    return tag("g", whisker, dot, cls=f"{model.hue} kind")


def _labels(models: list[Model]) -> Iterator[Html]:
    """Names beside their dots; one that would lie on another moves down."""
    taken: list[tuple[float, float]] = []
    for model in models:
        x, y = _x(model.helpful) + 7, _y(model.harmless) - 6
        while any(abs(x - other) < WIDE and abs(y - level) < LINE for other, level in taken):
            y += LINE
        taken.append((x, y))
        name = text(model.name[:16])
        yield tag("text", name, x=round(x, 1), y=round(y, 1), cls=f"{model.hue} kind")


def _x(share: float) -> float:
    return round(LEFT + SIZE * max(0.0, min(1.0, share)), 1)


def _y(share: float) -> float:
    return round(TOP + SIZE * (1 - max(0.0, min(1.0, share))), 1)


def _shares(model: Model) -> str:
    return f"{model.helpful:.0%} / {model.harmless:.0%}"


def _described(model: Model) -> str:
    return f"{model.name} {_shares(model)}"
