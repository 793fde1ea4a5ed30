"""What of a model learned, phase by phase, and what its average is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from samdan.report.evidence import section, stage_heading
from samdan.report.markup import NOTHING, Html, bdi, figure, join, tag, text
from samdan.report.numbers import fixed, mapping, number, places, sequence, whole
from samdan.report.reading import Report, Stage, stages
from samdan.report.table import Cell, column, table
from samdan.report.words import say


def learning(report: Report) -> Html:
    """The phases and averages of all stages; nothing where there are none."""
    parts = [part for stage in stages(report) for part in _of(stage)]
    return section("learning", *parts) if parts else NOTHING


def _of(stage: Stage) -> Iterator[Html]:
    rows = [mapping(row) for row in sequence(stage.get("phases"))]
    average = mapping(stage.get("average"))
    if not rows and not average:
        return
    yield stage_heading(stage)
    if rows:
        columns = (
            column("phase", "head"),
            column("phase.steps", "num"),
            column("phase.share", "num"),
            column("phase.loss", "num"),
            column("phase.end"),
        )
        yield table(say("learning"), columns, [_phase(n, row) for n, row in enumerate(rows, 1)])
    if average:
        yield _average(average)


def _phase(place: int, row: Mapping[str, Any]) -> list[Html | Cell]:
    first, last = number(row.get("loss_first")), number(row.get("loss_last"))
    share = number(row.get("trained_share"))
    decimals = places((first, last))
    return [
        join((text(f"{place}. "), tag("code", text(row.get("train"))))),
        figure(f"{whole(number(row.get('first_step')))}–{whole(number(row.get('last_step')))}"),
        figure("–" if share is None else f"{share:.1%}"),
        figure(f"{fixed(first, decimals)} → {fixed(last, decimals)}"),
        say("phase.converged" if row.get("converged") is True else "phase.used"),
    ]


def _average(average: Mapping[str, Any]) -> Html:
    steps = ", ".join(whole(number(step)) for step in sequence(average.get("steps")))
    updates = whole(number(average.get("updates")))
    key = "average.ema" if average.get("kind") == "ema" else "average.last"
    note = tag("p", say(key, steps=text(steps), n=text(updates)))
    last, mean = mapping(average.get("last")), mapping(average.get("average"))
    names = [name for name in last if name in mean]
    if not names:
        return note
    columns = (column("metric", "head"), column("average.before", "num"), column("average", "num"))
    rows = []
    for name in names:
        values = (number(last[name]), number(mean[name]))
        decimals = places(values)
        shown = [figure(fixed(value, decimals)) for value in values]
        rows.append([bdi(name), *shown])
    return join((note, table(say("average"), columns, rows)))
