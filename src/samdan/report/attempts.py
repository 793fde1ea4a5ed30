"""Attempts of a stage side by side: what fired, what was changed for it, and which one was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samdan.report.evidence import section, stage_heading
from samdan.report.markup import NOTHING, Html, bdi, figure, join, prose, tag, text
from samdan.report.numbers import fixed, mapping, number, places, plain, sequence
from samdan.report.reading import Report, Stage, stages
from samdan.report.table import Column, column, table
from samdan.report.words import say

MOST = 16  # metrics shown; all are in report.json


def attempts(report: Report) -> Html:
    """Empty where every stage succeeded, or failed, at its first attempt."""
    tried = [stage for stage in stages(report) if sequence(stage.get("history"))]
    if not tried:
        return NOTHING
    how = tag("p", say("attempts.how"), cls="soft small")
    return section("attempts", how, *(join((stage_heading(s), *_stage(s))) for s in tried))


def _stage(stage: Stage) -> Sequence[Html]:
    rows = [mapping(row) for row in sequence(stage.get("history"))]
    kept = mapping(stage.get("kept"))
    ended = tag("ol", *(tag("li", _ended(row), value=plain(row.get("attempt"))) for row in rows))
    chosen = tag("p", say("attempts.kept", n=text(kept.get("attempt")), why=prose(kept.get("why"))))
    return (ended, chosen, _compared(stage, rows, kept.get("attempt")))


def _ended(row: Mapping[str, Any]) -> Html:
    seen = [mapping(rule) for rule in sequence(row.get("rules"))]
    why = join((prose(one.get("message")) for one in seen), text(" "))
    changes = row.get("changes")
    if not changes:
        return join((why or say("attempts.last"),))
    names = ", ".join(str(name) for name in sequence(row.get("responses")))
    start = NOTHING
    if row.get("checkpoint"):
        start = say("attempts.from", step=text(row.get("checkpoint")))
    answer = say("attempts.answer", names=text(names), changes=text(changes))
    return join((why, tag("br"), tag("b", answer), text(" "), start))


def _compared(stage: Stage, rows: Sequence[Mapping[str, Any]], kept: object) -> Html:
    """The metrics of every attempt that came as far as being measured."""
    measured = {
        plain(row.get("attempt")): mapping(row.get("metrics")) for row in rows if row.get("metrics")
    }
    measured[plain(kept)] = mapping(stage.get("metrics"))
    numbers = sorted(measured, key=lambda shown: number(shown) or 0.0)
    if len(numbers) < 2:
        return NOTHING
    names = [name for name in measured[plain(kept)] if _differs(name, measured)][:MOST]
    columns = [column("metric", "head"), column("before", "num")]
    columns += [Column((f"attempt {n}", f"{n}회차"), "num") for n in numbers]
    lines = [_line(name, numbers, measured, plain(kept)) for name in names]
    return table(say("attempts"), columns, lines)


def _differs(name: str, measured: Mapping[str, Mapping[str, Any]]) -> bool:
    return len({number(mapping(m.get(name)).get("after")) for m in measured.values()}) > 1


def _line(
    name: str, numbers: Sequence[str], measured: Mapping[str, Mapping[str, Any]], kept: str
) -> list[Html]:
    values = [number(mapping(measured[n].get(name)).get("after")) for n in numbers]
    before = number(mapping(measured[kept].get(name)).get("before"))
    decimals = places([before, *values])
    shown = [figure(fixed(value, decimals)) for value in (before, *values)]
    marked = [tag("b", s) if n == kept else s for s, n in zip(shown[1:], numbers, strict=True)]
    return [bdi(name), shown[0], *marked]
