"""Two runs beside each other, as text for a terminal and as one self-contained page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from samdan.report.compare import ABSENT, Compared, Measured, compared, per_stage, spent
from samdan.report.evidence import SYMBOLS, changes_table, section
from samdan.report.markup import NOTHING, Html, bdi, figure, one_line, prose, tag, text
from samdan.report.numbers import duration, fixed, number
from samdan.report.overview import MARKS, spell, status, tools
from samdan.report.page import document
from samdan.report.reading import Report, overall, strongest, telling
from samdan.report.table import Cell, Column, column, table
from samdan.report.terminal import aligned, status_word
from samdan.report.words import english, say

Named = tuple[str, Report]  # how the run is called here, and its report


def as_text(first: Named, second: Named) -> str:
    """What ``samdan compare`` prints."""
    found = compared(first[1], second[1])
    blocks = ["\n".join(_top(first, second)), "\n".join(_recipe(found))]
    costs = [("", "A", "B")] + [(english(c.key), c.first[0], c.second[0]) for c in found.costs]
    costs += [
        (name, spent(a)[0], spent(b)[0]) for name, a, b in per_stage(first[1], second[1])
    ]
    blocks.append("\n".join(aligned(costs)))
    for measured in (*found.stages, *([found.last] if found.last else [])):
        blocks.append("\n".join(_metrics(measured)))
    if found.last is None:
        blocks.append(english("compare.unmeasured"))
    return "\n\n".join(blocks) + "\n"


def _top(first: Named, second: Named) -> Iterator[str]:
    for letter, (name, report) in (("A", first), ("B", second)):
        wall = duration(number(report.get("wall_seconds")))[0]
        verdict = english(overall(report).title)
        yield f"{letter}  {one_line(name)}: {status_word(report.get('status'))}, {wall}. {verdict}."


def _recipe(found: Compared) -> Iterator[str]:
    if found.unread:
        letters = " and ".join("AB"[number_ - 1] for number_ in found.unread)
        yield english("compare.unread", runs=letters)
        return
    yield english("compare.fields", n=str(len(found.fields)))
    rows = [(one_line(f.place), f"{_said(f.first)} -> {_said(f.second)}") for f in found.fields]
    yield from (f"  {line}" for line in aligned(rows))


def _said(value: str | None) -> str:
    return ABSENT if value is None else one_line(value)


def _metrics(measured: Measured) -> Iterator[str]:
    yield english("compare.metrics", a=one_line(measured.first), b=one_line(measured.second))
    rows = [
        (
            {"better": "+", "worse": "-", "unclear": "~", "unknown": "?"}[change.direction],
            one_line(change.metric),
            _values(change.old, change.new, change.decimals),
            change.shown,
            change.interval,
        )
        for change in measured.changes
    ]
    yield from (f"  {line}" for line in aligned(rows))
    for name, which in measured.only:
        yield f"  {english('compare.only', metric=one_line(name), run='AB'[which - 1])}"
    if measured.other_items:
        names = ", ".join(map(one_line, measured.other_items))
        yield f"  {english('compare.items', metrics=names)}"


def _values(old: float | None, new: float | None, decimals: int) -> str:
    return f"{fixed(old, decimals)} -> {fixed(new, decimals)}"


def as_page(first: Named, second: Named, lang: Literal["en", "ko"] | None = None) -> str:
    """The page; nothing outside it is needed."""
    found = compared(first[1], second[1])
    title = text(f"{first[0]} / {second[0]}")
    heading = tag("header", tag("h1", say("compare")), tools())
    ordered = (*([found.last] if found.last else []), *found.stages)
    main = tag(
        "main",
        _runs(first, second),
        _answer(found),
        _fields(found),
        section("compare.costs", _costs(found, first, second)),
        *(_measured(measured) for measured in ordered),
    )
    version = text(second[1].get("version") or "")
    return document(title, lang, heading, main, tag("footer", say("by", version=version)))


def _runs(first: Named, second: Named) -> Html:
    cards = []
    for letter, (name, report) in (("A", first), ("B", second)):
        level = overall(report)
        cards.append(
            tag(
                "div",
                tag("p", tag("b", text(letter)), text(" "), bdi(name), cls="name"),
                tag("p", status(report.get("status")), text(" "),
                    spell(duration(number(report.get("wall_seconds"))))),
                tag("p", text(MARKS[level.level] + " "), say(level.title), cls=level.level),
                cls="card tier other",
            )
        )  # fmt: skip
    return tag("div", *cards, cls="stair n2 flat")


def _answer(found: Compared) -> Html:
    """Which of the two is better, in one sentence."""
    if found.last is None:
        return tag("div", tag("p", say("compare.unmeasured"), cls="title"), cls="verdict open")
    changes = telling(found.last.changes)
    better, worse = strongest(changes, "better"), strongest(changes, "worse")
    key = (
        "compare.mixed" if better and worse else "compare.better" if better
        else "compare.worse" if worse else "compare.same"
    )  # fmt: skip
    looks = "care" if better and worse else "good" if better else "bad" if worse else "open"
    listed = [
        tag("li", text(f"{SYMBOLS[change.direction]} "), bdi(change.metric), text(" "),
            tag("b", figure(change.shown)), text(" "), figure(change.interval))
        for change in [*better[:3], *worse[:3]]
    ]  # fmt: skip
    title = tag("p", say(key), cls=f"title {looks}")
    counts = say("compare.counts", better=text(len(better)), worse=text(len(worse)),
                 all=text(len(changes)))  # fmt: skip
    return tag("div", title, tag("p", counts), tag("ul", *listed), cls=f"verdict {looks}")


def _fields(found: Compared) -> Html:
    if found.unread:
        letters = text(" / ".join("AB"[n - 1] for n in found.unread))
        return section("compare.recipe", tag("p", say("compare.unread", runs=letters), cls="soft"))
    if not found.fields:
        return section("compare.recipe", tag("p", say("compare.fields.none"), cls="soft"))
    columns = (column("setting", "head"), Column(("A", "A"), "text"), Column(("B", "B"), "text"))
    rows: Sequence[Sequence[Html | Cell]] = [
        [tag("code", text(f.place)), prose(_said(f.first), 2000), prose(_said(f.second), 2000)]
        for f in found.fields
    ]
    return section("compare.recipe", table(say("compare.recipe"), columns, rows))


def _costs(found: Compared, first: Named, second: Named) -> Html:
    columns = (
        column("compare.what", "head"),
        Column(("A", "A"), "num two"),
        Column(("B", "B"), "num two"),
    )
    rows: list[Sequence[Html | Cell]] = [
        [say(cost.key), spell(cost.first), spell(cost.second)] for cost in found.costs
    ]
    rows += [
        [bdi(name), spell(spent(a)), spell(spent(b))]
        for name, a, b in per_stage(first[1], second[1])
    ]
    return table(say("compare.costs"), columns, rows)


def _measured(measured: Measured) -> Html:
    names = [bdi(name) for name in (measured.first, measured.second)]
    heading = tag("h2", say("compare.metrics", a=names[0], b=names[1]))
    how = tag("p", say("compare.how"), cls="soft small")
    notes = [
        tag("li", say("compare.only", metric=bdi(name), run=text("AB"[which - 1])))
        for name, which in measured.only
    ]
    if measured.other_items:
        said = text(", ".join(measured.other_items))
        notes.append(tag("li", say("compare.items", metrics=said), cls="care"))
    listed = tag("ul", *notes, cls="small soft") if notes else NOTHING
    return tag("section", heading, how, changes_table(measured.changes), listed)
