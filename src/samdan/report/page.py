"""The report as one self-contained HTML file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from samdan.report.attempts import attempts
from samdan.report.bounds import LEVELS, MOST_BYTES, Bounds, bounded
from samdan.report.evidence import curves, evidence, section, settings
from samdan.report.first import first_screen
from samdan.report.growth import growth
from samdan.report.inputs import data
from samdan.report.learning import learning
from samdan.report.markup import NOTHING, Html, bdi, figure, join, prose, tag, text
from samdan.report.numbers import DASH, duration, mapping, number, plain, sequence
from samdan.report.overview import header, notes, spell, status, tiers
from samdan.report.reading import Report, Stage, stages, verdicts
from samdan.report.samples import samples
from samdan.report.style import CSS, JS, POLICY
from samdan.report.table import Cell, column, table
from samdan.report.votes import votes
from samdan.report.words import in_turn, say, spoken

MOST_EVENTS = 300
MOST_RECIPE = 200_000
MOST_TIERS = 60  # stages of the pyramid


def render(report: Mapping[str, Any], lang: Literal["en", "ko"] | None = None) -> str:
    """The page; without ``lang`` it is in the language of the browser.

    Below ``MOST_BYTES`` whatever the report holds: what is too much is left out and counted.
    """
    page = ""
    for bounds in LEVELS:
        page = _render(report, lang, bounds)
        if len(page.encode("utf-8", "replace")) < MOST_BYTES:
            break
    return page


def _render(whole: Report, lang: Literal["en", "ko"] | None, bounds: Bounds) -> str:
    report, stages_left, rows_left = bounded(whole, bounds)
    sections = {
        "evidence": evidence(report),
        "curves": curves(report),
        "growth": growth(report),
        "learning": learning(report),
        "data": data(report),
        "samples": samples(report, bounds.samples),
        "votes": votes(report),
        "rules": rules(report),
        "attempts": attempts(report),
        "settings": settings(report),
        "lineage": lineage(report),
        "events": events(report),
        "recipe": recipe(report),
        "machine": machine(report),
    }
    links = (tag("a", say(key), href=f"#{key}") for key, content in sections.items() if content)
    main = tag(
        "main",
        first_screen(whole),
        tiers(whole if len(stages(whole)) <= MOST_TIERS else report),
        _left_out(stages_left, rows_left),
        notes(report),
        tag("nav", *links, aria_label=spoken("nav"), **in_turn("nav")),
        *sections.values(),
    )
    footer = tag("footer", say("by", version=text(report.get("version") or "")))
    return document(text(report.get("name")), lang, header(report), main, footer)


def _left_out(stages_left: int, rows_left: int) -> Html:
    parts = []
    if stages_left:
        parts.append(say("left.stages", n=text(stages_left)))
    if rows_left:
        parts.append(say("left.rows", n=text(rows_left)))
    return tag("p", join(parts, text(" ")), cls="soft small left-out") if parts else NOTHING


def document(title: Html, lang: Literal["en", "ko"] | None, *content: Html) -> str:
    """A page that loads nothing; without ``lang`` it is in the language of the browser."""
    body = tag("body", *content)
    root = tag("html", head(title), body, lang=lang or "en", data_auto=lang is None)
    return f"<!DOCTYPE html>\n{root}\n"


def head(title: Html) -> Html:
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY}
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", **policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title, text(" \u00b7 samdan")),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(CSS)),
        tag("script", Html(JS)),
    )


def rules(report: Report) -> Html:
    kinds: tuple[Literal["gates", "rules"], ...] = ("gates", "rules")
    rows = [
        _judged(stage, kind, one)
        for kind in kinds
        for stage in stages(report)
        for one in verdicts(stage, kind)
    ]
    if not rows:
        return section("rules", tag("p", say("rules.none"), cls="soft"))
    columns = (
        column("rule", "head"),
        column("stage"),
        column("outcome"),
        column("value", "num"),
        column("limit", "num"),
        column("response"),
        column("message", "text wide"),
    )
    return section("rules", table(say("rules"), columns, rows))


def _judged(
    stage: Stage, kind: Literal["gates", "rules"], one: Mapping[str, Any]
) -> list[Html | Cell]:
    gate = kind == "gates"
    response = one.get("response") if one.get("fired") is True else None
    kind_of = tag("span", say("gate" if gate else "monitor"), cls="small")
    return [
        join((bdi(one.get("rule")), kind_of)),
        bdi(stage.get("name")),
        _outcome(gate, one.get("fired")),
        figure(plain(_number(one.get("value")))),
        figure(plain(_number(one.get("limit")))),
        Cell(text(response), "wide") if response else text(DASH),
        prose(one.get("message") or DASH),
    ]


def _outcome(gate: bool, fired: object) -> Html:
    if fired is True:
        mark, key, looks = ("\u2717 ", "failed", "bad") if gate else ("! ", "fired", "care")
    elif fired is False:
        mark, key, looks = "\u2713 ", "passed" if gate else "quiet", "good"
    else:
        return text(DASH)
    return tag("span", text(mark), say(key), cls=f"pill {looks}")


def _number(value: object) -> object:
    found = number(value)
    return value if found is None else round(found, 6) if abs(found) >= 0.01 else found


def lineage(report: Report) -> Html:
    steps = [mapping(step) for step in sequence(report.get("lineage"))]
    if not steps:
        return NOTHING
    columns = (
        column("made.by", "head"),
        column("status"),
        column("seconds", "num"),
        column("inputs", "wide"),
        column("identity"),
        column("output"),
    )
    rows = (
        [
            bdi(step.get("step")),
            status(step.get("status") or DASH),
            spell(duration(number(step.get("seconds")))),
            text(", ".join(map(str, sequence(step.get("inputs")))) or DASH),
            _hash(step.get("identity")),
            _hash(step.get("output")),
        ]
        for step in steps
    )
    return section("lineage", chain(report, steps), table(say("lineage"), columns, rows))


def chain(report: Report, steps: Sequence[Mapping[str, Any]]) -> Html:
    """The hashes of recipe, data and models, in order: enough to tell two models apart."""
    made = {str(step.get("step")): step.get("output") for step in steps}
    written = report.get("recipe")
    links = [(say("chain.recipe"), hashlib.sha256(str(written).encode("utf-8", "replace")))]
    rows = [(label, digest.hexdigest()) for label, digest in links if written]
    if made.get("base/load"):
        rows.append((say("chain.base"), str(made["base/load"])))
    for stage in stages(report):
        name = bdi(stage.get("name"))
        for step, key in (("mix", "chain.data"), ("train", "chain.model")):
            output = made.get(f"{stage.get('name')}/{step}")
            if output:
                rows.append((say(key, stage=name), str(output)))
    listed = (
        tag("li", tag("span", label), tag("code", text(digest))) for label, digest in rows
    )
    how = tag("p", say("chain.how"), cls="soft small")
    return join((tag("h3", say("chain")), how, tag("ol", *listed, cls="card chain")))


def _hash(value: object) -> Html:
    if not value:
        return text(DASH)
    return tag("code", text(str(value)[:12]), title=str(value))


def events(report: Report) -> Html:
    every = [mapping(event) for event in sequence(report.get("events"))]
    if not every:
        return NOTHING
    shown = every[-MOST_EVENTS:]
    left = len(every) - len(shown)
    note = tag("p", say("events.left", n=text(left)), cls="soft small") if left else NOTHING
    columns = (
        column("time", "head"),
        column("event"),
        column("made.by"),
        column("text", "text wide"),
    )
    rows = (
        [
            tag("span", text(_moment(event.get("time"))), cls="mono"),
            text(event.get("event") or DASH),
            text(event.get("step") or DASH),
            prose(event.get("text") or DASH, 1000),
        ]
        for event in shown
    )
    return folded("events", note, table(say("events"), columns, rows))


def _moment(time: object) -> str:
    """To the second; a zone other than UTC stays as it was written."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?\+00:00", str(time))
    return f"{found[1]} {found[2]} UTC" if found else str(time or DASH)


def recipe(report: Report) -> Html:
    written = report.get("recipe")
    if not written:
        return NOTHING
    return folded("recipe", tag("pre", prose(written, MOST_RECIPE), cls="card", dir="ltr"))


def folded(key: str, *content: Html) -> Html:
    summary = tag("summary", tag("h2", say(key)))
    return tag("section", tag("details", summary, *content), id=key)


def machine(report: Report) -> Html:
    found = mapping(report.get("machine"))
    if not found:
        return NOTHING
    facts = (
        join((tag("dt", text(name)), tag("dd", prose(plain(value), 2000))))
        for name, value in found.items()
    )
    return section("machine", tag("dl", *facts, cls="card facts"))
