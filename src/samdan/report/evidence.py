"""What the stages changed: metrics before and after with intervals, and the training curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from samdan.report.charts import FEW_POINTS, Series, curve, finite, interval, smoothed
from samdan.report.markup import NOTHING, Html, bdi, figure, join, tag, text
from samdan.report.numbers import DASH, fixed, mapping, number, places, plain, sequence, whole
from samdan.report.overview import hue, status
from samdan.report.plane import planes
from samdan.report.reading import (
    Change,
    Direction,
    Report,
    Stage,
    bounds,
    change,
    pair,
    stages,
)
from samdan.report.table import Cell, Column, column, table
from samdan.report.words import say, spoken

LOOKS: Mapping[Direction, str] = {"better": "good", "worse": "bad", "unclear": "", "unknown": ""}
SYMBOLS: Mapping[Direction, str] = {
    "better": "\u25b2",
    "worse": "\u25bc",
    "unclear": "\u2248",
    "unknown": "?",
}
MOST_CURVES = 12


def section(key: str, *content: Html) -> Html:
    return tag("section", tag("h2", say(key), id=f"{key}-title"), *content, id=key)


def stage_heading(stage: Stage) -> Html:
    name = tag("bdi", text(stage.get("name")), cls="kind")
    done = stage.get("status") == "done"
    return tag("h3", name, NOTHING if done else status(stage.get("status")), cls=hue(stage))


def evidence(report: Report) -> Html:
    measured = [stage for stage in stages(report) if mapping(stage.get("metrics"))]
    if not measured:
        return section("evidence", tag("p", say("evidence.none"), cls="soft"))
    how = tag("p", say("evidence.how"), text(" "), say("plot.how"), cls="soft small")
    tables = (
        join((stage_heading(stage), _metrics(stage), _lengths(stage))) for stage in measured
    )
    return section("evidence", how, *tables, planes(report))


def _metrics(stage: Stage) -> Html:
    found = mapping(stage.get("metrics"))
    reaches = _reaches(found)
    columns = (
        column("metric", "head"),
        column("base", "num"),
        column("before", "num"),
        column("after", "num"),
        column("change", "num two judged"),
        column("plot", "plot bare"),
        column("vs.base", "num two judged"),
    )
    rows = (_row(str(name), mapping(metric), reaches) for name, metric in found.items())
    return table(join((say("evidence"), text(f": {stage.get('name')}"))), columns, rows)


def _row(name: str, metric: Mapping[str, Any], reaches: Mapping[str, float]) -> list[Html | Cell]:
    before, base = change(name, metric, "before"), change(name, metric, "base")
    decimals = max(before.decimals, base.decimals)
    low, high = pair(mapping(metric.get("ci95")).get("after"))
    after = join((figure(fixed(before.new, decimals)), _small(bounds(low, high, decimals))))
    return [
        join((bdi(name), _about(metric))),
        figure(fixed(base.old, decimals)),
        figure(fixed(before.old, decimals)),
        Cell(after, "strong"),
        judged(before),
        _plot(before, reaches.get(_family(name), 0.0)),
        judged(base),
    ]


def changes_table(changes: Sequence[Change]) -> Html:
    """Metrics of two runs: A, B, and the change from the one to the other."""
    reaches: dict[str, float] = {}
    for one in changes:
        sizes = [abs(end) for end in (one.delta, one.low, one.high) if end is not None]
        family = _family(one.metric)
        reaches[family] = max([reaches.get(family, 0.0), *sizes])
    columns = (
        column("metric", "head"),
        Column(("A", "A"), "num"),
        Column(("B", "B"), "num"),
        column("compare.change", "num two judged"),
        column("plot", "plot bare"),
    )
    about = [_about({"higher_is_better": one.higher_is_better}) for one in changes]
    rows: list[list[Html | Cell]] = [
        [
            join((bdi(one.metric), which)),
            figure(fixed(one.old, one.decimals)),
            Cell(figure(fixed(one.new, one.decimals)), "strong"),
            judged(one),
            _plot(one, reaches[_family(one.metric)]),
        ]
        for one, which in zip(changes, about, strict=True)
    ]
    return table(say("compare"), columns, rows)


def _lengths(stage: Stage) -> Html:
    """How long the answers are: a mean hides a few that never end."""
    found = mapping(stage.get("lengths"))
    if not found:
        return NOTHING
    places = ("base", "before", "after")
    columns = (column("task", "head"), *(column(place, "num") for place in places))
    rows = (
        [bdi(task), *(_deciles(mapping(of).get(place)) for place in places)]
        for task, of in found.items()
    )
    how = tag("p", say("lengths.how"), cls="soft small")
    return join((how, table(say("lengths"), columns, rows)))


def _deciles(value: object) -> Html:
    found = [number(one) for one in sequence(value)]
    if len(found) != 3:
        return text(DASH)
    return figure(" \u2013 ".join(DASH if one is None else f"{one:,.0f}" for one in found))


def _about(metric: Mapping[str, Any]) -> Html:
    better, count = metric.get("higher_is_better"), number(metric.get("n"))
    parts = []
    if isinstance(better, bool):
        arrow = tag("span", text("\u2191 " if better else "\u2193 "), aria_hidden="true")
        parts.append(join((arrow, say("higher" if better else "lower"))))
    if count is not None:
        parts.append(say("items", n=text(whole(count))))
    return tag("span", *(tag("span", part) for part in parts), cls="small dots")


def judged(found: Change) -> Html:
    """A change with its interval and what it means."""
    if found.delta is None:
        return figure(found.shown)
    looks = LOOKS[found.direction]
    pill = tag(
        "span",
        tag("span", text(SYMBOLS[found.direction] + " "), aria_hidden="true"),
        say(found.direction),
        cls=f"pill {looks}".strip(),
    )
    return join((pill, text(" "), tag("b", figure(found.shown), cls=looks), _small(found.interval)))


def _small(shown: str) -> Html:
    return tag("span", figure(shown), cls="small nowrap") if shown else NOTHING


def _plot(found: Change, reach: float) -> Html:
    if found.delta is None or found.higher_is_better is None:
        return NOTHING
    sign = 1 if found.higher_is_better else -1
    ends = [None if end is None else sign * end for end in (found.low, found.high)]
    title = f"{found.metric}: {found.shown} {found.interval}"
    looks = LOOKS[found.direction] or "soft"
    return interval(title, ends[0], sign * found.delta, ends[1], reach, looks)


def _family(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _reaches(found: Mapping[str, Any]) -> dict[str, float]:
    """For each kind of metric, the largest change or bound: the scale that its plots share."""
    reaches: dict[str, float] = {}
    for name, metric in found.items():
        one = change(str(name), mapping(metric), "before")
        sizes = [abs(end) for end in (one.delta, one.low, one.high) if end is not None]
        family = _family(str(name))
        reaches[family] = max([reaches.get(family, 0.0), *sizes])
    return reaches


def curves(report: Report) -> Html:
    charts = [join(_stage_curves(stage)) for stage in stages(report)]
    if not any(charts):
        return section("curves", tag("p", say("curves.none"), cls="soft"))
    more = [chart for stage in stages(report) for chart in _side_curves(stage)]
    folded = tag("details", tag("summary", say("more.curves")), tag("div", *more, cls="charts"))
    return section("curves", tag("div", *charts, cls="charts"), folded if more else NOTHING)


def _stage_curves(stage: Stage) -> Iterator[Html]:
    recorded = mapping(stage.get("curve"))
    loss = series(recorded, "loss")
    if loss:
        yield _loss(stage, loss, series(recorded, "lr"))
    held = list(mapping(stage.get("heldout_curve")).items())
    for name, points in held[:MOST_CURVES]:
        title = say("heldout", name=bdi(name))
        found = series(mapping(points), "value")
        if found:
            label = f"{stage.get('name')}: {name}"
            yield _figure(stage, title, found, curve(label, found, smooth=False))
    if len(held) > MOST_CURVES:
        yield tag("p", say("curves.left", n=text(len(held) - MOST_CURVES)), cls="soft")


def _loss(stage: Stage, loss: Series, rate: Series) -> Html:
    mean = smooth_series(mapping(stage.get("curve")), "loss")
    drawn = curve(f"{stage.get('name')}: {spoken('loss')}", loss, rate, mean=mean)
    peak = max((value for _, value in rate if value is not None), default=None)
    smooth = len(finite(loss)) >= FEW_POINTS
    keys = [_key("", say("loss.raw")), _key("s", say("loss.smooth"))] if smooth else []
    if peak:
        keys.append(_key("r", say("lr", peak=text(plain(float(f"{peak:.3g}"))))))
    beyond = number(stage.get("loss_beyond_3_sigma"))
    if beyond is not None:
        keys.append(tag("span", say("beyond", share=text(f"{beyond:.1%}"))))
    return _figure(stage, say("loss"), loss, drawn, *keys, smooth=mean or smooth)


def _side_curves(stage: Stage) -> Iterator[Html]:
    recorded = mapping(stage.get("curve"))
    for key in ("grad_norm", "tokens_per_second"):
        found = series(recorded, key)
        if any(value is not None for _, value in found):
            label = f"{stage.get('name')}: {spoken(key)}"
            mean = smooth_series(recorded, key)
            drawn = curve(label, found, height=140, mean=mean)
            yield _figure(stage, say(key), found, drawn, smooth=mean or True)


def _figure(
    stage: Stage,
    title: Html,
    found: Series,
    drawn: Html,
    *keys: Html,
    smooth: Series | bool = False,
) -> Html:
    """``smooth``: whether the curve is smoothed, or the smoothed curve of a thinned one."""
    name = tag("bdi", text(stage.get("name")), cls="kind")
    heading = tag("p", name, text(" "), title, cls="title")
    caption = tag("figcaption", _ends(found, smooth), *keys, _holes(found))
    return tag("figure", heading, drawn, caption, cls=f"card {hue(stage)}")


def _ends(found: Series, smooth: Series | bool) -> Html:
    points = finite(found)
    if not points:
        return NOTHING
    given = [] if isinstance(smooth, bool) else finite(smooth)
    drawn = given or (smoothed(points) if smooth else points)
    first, last = points[0][1], drawn[-1][1]
    decimals = places((first, last))
    key = "range.smooth" if smooth else "range"
    ends = {"first": figure(fixed(first, decimals)), "last": figure(fixed(last, decimals))}
    return tag("span", say(key, **ends))


def _holes(found: Series) -> Html:
    """A null is a value that was not finite; it is said, and never drawn as a zero."""
    holes = [step for step, value in found if value is None]
    if not holes:
        return NOTHING
    said = say("nonfinite", n=text(len(holes)), step=text(plain(int(holes[0]))))
    return tag("span", text("\u2717 "), said, cls="bad")


def _key(cls: str, label: Html) -> Html:
    return tag("span", tag("span", cls=f"key {cls}".strip(), aria_hidden="true"), label)


def series(recorded: Mapping[str, Any], key: str) -> Series:
    """The recorded values over their steps, null for what was not finite."""
    values = sequence(recorded.get(key))
    steps = sequence(recorded.get("step")) or range(1, len(values) + 1)
    return [
        (step, number(value))
        for step, value in zip(map(number, steps), values, strict=False)
        if step is not None
    ]


def smooth_series(recorded: Mapping[str, Any], key: str) -> Series:
    """The smoothed curve of a very long run, of which only the extremes are kept; else nothing."""
    values = mapping(recorded.get("smoothed")).get(key)
    return series({"step": recorded.get("step"), key: values}, key) if sequence(values) else ()


def settings(report: Report) -> Html:
    every = stages(report)
    keys = list(dict.fromkeys(key for stage in every for key in mapping(stage.get("settings"))))
    if not keys:
        return NOTHING
    names = [str(stage.get("name")) for stage in every]
    columns = [column("setting", "head"), *(Column((name, name), "set") for name in names)]
    rows = (
        [tag("code", text(key)), *(text(plain(_setting(stage, key))) for stage in every)]
        for key in keys
    )
    return section("settings", table(say("settings"), columns, rows))


def _setting(stage: Stage, key: str) -> object:
    return mapping(stage.get("settings")).get(key)
