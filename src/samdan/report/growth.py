"""A grown base: its size before and after, and whether training healed what growing broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from samdan.report.charts import curve, finite
from samdan.report.evidence import judged, section
from samdan.report.markup import NOTHING, Html, bdi, figure, tag, text
from samdan.report.numbers import DASH, fixed, mapping, number, places, sequence, whole
from samdan.report.reading import Change, Report, pair
from samdan.report.table import Cell, column, table
from samdan.report.words import say


def growth(report: Report) -> Html:
    """Nothing where the base did not grow."""
    found = mapping(report.get("growth"))
    if not found:
        return NOTHING
    facts = mapping(found.get("facts"))
    parts = [*_sizes(facts), *_healing(mapping(found.get("healing"))), *_curves(found)]
    return section("growth", *parts) if parts else NOTHING


def _sizes(facts: Mapping[str, Any]) -> Iterator[Html]:
    layers, parameters = _two(facts.get("layers")), _two(facts.get("parameters"))
    if layers and parameters:
        yield tag(
            "p",
            say(
                "growth.depth",
                kind=tag("code", text(facts.get("depth"))),
                before=figure(whole(layers[0])),
                after=figure(whole(layers[1])),
                parameters_before=figure(whole(parameters[0])),
                parameters_after=figure(whole(parameters[1])),
            ),
        )
    rows = _two(facts.get("rows"))
    if rows:
        new = figure(whole(number(facts.get("new_tokens"))))
        before, after = (figure(whole(count)) for count in rows)
        yield tag("p", say("growth.vocab", new=new, before=before, after=after))


def _two(value: object) -> tuple[float, float] | None:
    low, high = pair(value)
    return None if low is None or high is None else (low, high)


def _healing(healing: Mapping[str, Any]) -> Iterator[Html]:
    """One row a text and model: the grown one, then every stage, each against the base."""
    rows: list[list[Html | Cell]] = []
    for name, value in healing.items():
        row = mapping(value)
        base = number(row.get("base"))
        models = {"": mapping(row.get("grown")), **mapping(row.get("after"))}
        for stage, measured in models.items():
            rows.append(_row(name, stage, base, mapping(measured)))
    if not rows:
        return
    yield tag("p", say("growth.how"), cls="soft small")
    columns = (
        column("metric", "head"),
        column("growth.model"),
        column("base", "num"),
        column("growth.value", "num"),
        column("vs.base", "num two judged"),
    )
    yield table(say("growth"), columns, rows)


def _row(
    name: str, stage: str, base: float | None, measured: Mapping[str, Any]
) -> list[Html | Cell]:
    value = number(measured.get("value"))
    low, high = pair(measured.get("ci95"))
    found = Change(name, base, value, low, high, higher_is_better=False)
    decimals = places((base, value))
    model = bdi(stage) if stage else say("growth.untrained")
    return [
        bdi(name),
        model,
        figure(fixed(base, decimals)),
        figure(DASH if value is None else fixed(value, decimals)),
        judged(found),
    ]


def _curves(found: Mapping[str, Any]) -> Iterator[Html]:
    for name, value in mapping(found.get("curves")).items():
        row = mapping(value)
        xs, ys = sequence(row.get("tokens")), sequence(row.get("value"))
        points = [(number(x) or 0.0, number(y)) for x, y in zip(xs, ys, strict=False)]
        if len(finite(points)) < 2:
            continue
        title = tag("p", say("growth.curve", name=bdi(name)), cls="title")
        drawn = curve(f"{name}", points, smooth=False)
        ends = [y for _, y in finite(points)]
        decimals = places((ends[0], ends[-1]))
        caption = tag(
            "figcaption",
            tag(
                "span",
                say(
                    "range",
                    first=figure(fixed(ends[0], decimals)),
                    last=figure(fixed(ends[-1], decimals)),
                ),
            ),
        )
        yield tag("figure", title, drawn, caption, cls="card cpt")
